"""Rules of the Gateway API's Gateway (the CEL rules of its definition)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, no_effect
from weft.schema.kinds.gateway import (
    CONTROLLER_NAME,
    GATEWAY_GROUP,
    LISTENER_PROTOCOLS,
    ROUTE_KINDS,
    TERMINATE_MODE,
    FrontendTls,
    GatewayAddress,
    GatewayClassSpec,
    GatewaySpec,
    LabelExpression,
    ListenerNamespaces,
    ListenerSetSpec,
    ListenerSpec,
    ListenerTls,
    RouteGroupKind,
    RouteNamespaces,
    SecretReference,
)
from weft.schema.rules.spelling import misspelt


def listeners(spec: GatewaySpec | ListenerSetSpec) -> Iterator[Finding]:
    """Listeners must differ in their names, and in port, protocol and hostname taken together."""
    names: set[str] = set()
    places: dict[tuple[int, str, str], str] = {}
    for index, listener in enumerate(spec.listeners):
        path = ("listeners", index)
        if listener.name in names:
            yield duplicate((*path, "name"), f"the listener name '{listener.name}' is given twice")
        names.add(listener.name)
        place = (listener.port, listener.protocol, listener.hostname)
        if place in places:
            host = f"hostname '{listener.hostname}'" if listener.hostname else "no hostname"
            yield duplicate(path, f"listener '{places[place]}' has the same port {listener.port} and {host}")
        places.setdefault(place, listener.name)


def address(spec: GatewayAddress) -> Iterator[Finding]:
    """An IP address is one. Of other types nothing is known (`weft.mesh.gateways.addresses`)."""
    if spec.type == "IPAddress" and spec.value:
        try:
            ipaddress.ip_address(spec.value)
        except ValueError:
            yield Finding(("value",), f"found '{spec.value}'", "an IP address")


def frontend(spec: FrontendTls) -> Iterator[Finding]:
    """One answer for each port."""
    ports: set[int] = set()
    for index, each in enumerate(spec.per_port):
        if each.port in ports:
            yield duplicate(("perPort", index, "port"), f"port {each.port} is given twice")
        ports.add(each.port)


def listener(spec: ListenerSpec) -> Iterator[Finding]:
    """TLS goes with protocols that have it, and ends at an HTTPS listener."""
    yield from misspelt(("protocol",), spec.protocol, LISTENER_PROTOCOLS)
    if spec.tls is None:
        return
    if spec.protocol in ("HTTP", "TCP", "UDP"):
        yield conflicting(
            ("tls",), f"a listener with protocol {spec.protocol} has no 'tls'", "protocol HTTPS, or no tls"
        )
    elif spec.protocol == "HTTPS" and spec.tls.mode != "Terminate":
        message = f"a listener with protocol HTTPS does not go with mode {spec.tls.mode}"
        yield conflicting(("tls", "mode"), message, "Terminate")


def listener_tls(spec: ListenerTls) -> Iterator[Finding]:
    """What clients show is asked where TLS ends; the mesh's own TLS has its own certificates."""
    asked = spec.options.terminate_mode
    if asked != "SIMPLE" and spec.mode != "Terminate":
        message = f"{asked} asks nobody where TLS is passed on unopened"
        yield conflicting(("options", TERMINATE_MODE), message, "mode: Terminate")
    elif asked == "ISTIO_MUTUAL" and spec.certificate_refs:
        message = "with ISTIO_MUTUAL the gateway shows the mesh's own certificate"
        yield conflicting(("certificateRefs",), message, "no certificateRefs")


def route_kind(spec: RouteGroupKind) -> Iterator[Finding]:
    """A kind is another one, or well written."""
    if spec.group == GATEWAY_GROUP:
        yield from misspelt(("kind",), spec.kind, ROUTE_KINDS)


def secret_reference(spec: SecretReference) -> Iterator[Finding]:
    """A kind is another one, or well written."""
    if not spec.group:
        yield from misspelt(("kind",), spec.kind, ("Secret",))


def route_namespaces(spec: RouteNamespaces | ListenerNamespaces) -> Iterator[Finding]:
    """`selector` goes with ``from: Selector``."""
    if spec.from_ == "Selector" and spec.selector is None:
        yield missing((), "'from: Selector' needs 'selector'")
    elif spec.from_ != "Selector" and spec.selector is not None:
        yield conflicting(("selector",), f"'selector' has no effect with 'from: {spec.from_}'", "from: Selector")


def label_expression(spec: LabelExpression) -> Iterator[Finding]:
    """In and NotIn need values, Exists and DoesNotExist have none."""
    if spec.operator in ("In", "NotIn") and not spec.values:
        yield missing((), f"the operator {spec.operator} needs 'values'")
    elif spec.operator in ("Exists", "DoesNotExist") and spec.values:
        yield conflicting(("values",), f"the operator {spec.operator} takes no values", "no values")


def gateway_class(spec: GatewayClassSpec) -> Iterator[Finding]:
    """The controller's name has the form DOMAIN/PATH."""
    domain, slash, path = spec.controller_name.partition("/")
    if not domain or not slash or not path:
        yield Finding(("controllerName",), f"found '{spec.controller_name[:80]}'", f"a name such as {CONTROLLER_NAME}")
    if spec.controller_name == CONTROLLER_NAME and spec.parameters_ref is not None:
        message = "'parametersRef' has no effect outside of Kubernetes: you start the gateway's process: `weft gateway`"
        yield no_effect(("parametersRef",), message)


RULES: Mapping[type, tuple[Rule, ...]] = {
    GatewaySpec: (listeners,),
    ListenerSetSpec: (listeners,),
    ListenerNamespaces: (route_namespaces,),
    GatewayAddress: (address,),
    FrontendTls: (frontend,),
    ListenerSpec: (listener,),
    RouteGroupKind: (route_kind,),
    SecretReference: (secret_reference,),
    RouteNamespaces: (route_namespaces,),
    LabelExpression: (label_expression,),
    GatewayClassSpec: (gateway_class,),
    ListenerTls: (listener_tls,),
}
