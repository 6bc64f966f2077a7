"""The Gateway API's Gateways: which are ours, which of their listeners can be in force, what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from weft.mesh.gateways.addresses import asked_addresses, type_problems
from weft.mesh.gateways.certificates import SecretDocument, Secrets, certificate_from_reference
from weft.mesh.gateways.clients import Clients, ConfigMaps, clients_of_port, clients_of_secret
from weft.mesh.gateways.declared import DeclaredGateway, Made
from weft.mesh.gateways.http3 import asks_for_http3, http3_problems, offering
from weft.mesh.gateways.listeners import EVERYTHING, Admission, Listener, ListenerHost, ListenerTls, Protocol
from weft.mesh.gateways.listeners import closed as shut
from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.policies.selector import selector_from_api
from weft.mesh.problems import one_of, problem_at
from weft.mesh.views import Certificate
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.findings import printable
from weft.schema.kinds import gateway as api
from weft.schema.kinds.gateway import (
    BUILT_IN_CLASSES,
    CONTROLLER_NAME,
    GATEWAY_GROUP,
    LISTENER_PROTOCOLS,
    TERMINATE_MODE,
    AllowedListeners,
    GatewayClassSpec,
    GatewaySpec,
    ListenerSetSpec,
    ListenerSpec,
    RouteGroupKind,
)
from weft.schema.wording import nearest_name

GatewayDocument = Document[GatewaySpec]
SetDocument = Document[ListenerSetSpec]
ListenerDocument = GatewayDocument | SetDocument
ClassDocument = Document[GatewayClassSpec]
_UNSUPPORTED = {
    "HBONE": "HBONE is for waypoints of Istio's ambient mode, which weft does not need",
}
"""Protocols of the Gateway API, and of others' Gateways, that are refused for a reason."""


def make_gateways(
    documents: tuple[GatewayDocument, ...],
    memo: Memo,
    sets: tuple[SetDocument, ...],
    classes: tuple[ClassDocument, ...],
    secrets: tuple[SecretDocument, ...],
    grants: Grants,
    config_maps: ConfigMaps,
) -> Made:
    """The Gateways whose class is ours, with their listeners."""
    by_secret = {document.key: document for document in secrets}
    problems: list[Problem] = [problem for each in classes for problem in _foreign_class(each)]
    ours: list[DeclaredGateway] = []
    foreign: list[str] = []
    for document in documents:
        bad = class_problem(document, classes)
        if bad is not None:
            problems.append(bad)
            foreign.append(gateway_name(document))
            continue
        listeners, waiting, wrong = build_listeners(memo, document, document, by_secret, grants, config_maps)
        spec = document.spec
        written = tuple(listener.name for listener in spec.listeners)
        wrong = (*type_problems(document), *wrong)
        client = _client_certificate(memo, document, by_secret, grants)
        if isinstance(client, Problem):
            wrong, client = (*wrong, client), None
        name, admits = gateway_name(document), set_admission(spec.allowed_listeners, document.key.namespace)
        about = (listeners, written, spec.gateway_class_name, client)
        ours.append(DeclaredGateway(name, document, *about, admits=admits, waiting=waiting))
        problems += wrong
    by_name = {each.name: each.document for each in ours}
    for added in sets:
        reference = added.spec.parent_ref
        parent = f"{reference.namespace or added.key.namespace}/{reference.name}"
        gateway = cast("GatewayDocument | None", by_name.get(parent))
        listeners, waiting, wrong = build_listeners(memo, added, gateway, by_secret, grants, config_maps)
        written = tuple(listener.name for listener in added.spec.listeners)
        name = gateway_name(added)
        ours.append(DeclaredGateway(name, added, listeners, written, parent=parent, waiting=waiting))
        problems += wrong
    return Made(tuple(ours), tuple(foreign), tuple(problems))


def _client_certificate(
    memo: Memo, document: GatewayDocument, secrets: Secrets, grants: Grants
) -> Certificate | Problem | None:
    """What the gateway shows to servers that it calls, or why it shows nothing."""
    backend = document.spec.tls.backend if document.spec.tls is not None else None
    if backend is None or backend.client_certificate_ref is None:
        return None
    path: FieldPath = ("spec", "tls", "backend", "clientCertificateRef")
    return certificate_from_reference(memo, document, path, backend.client_certificate_ref, secrets, grants)


def gateway_name(document: Document[object]) -> str:
    """``namespace/name``, as routes name a Gateway."""
    return f"{document.key.namespace}/{document.key.name}"


def set_admission(allowed: AllowedListeners, namespace: str) -> Admission:
    """The ListenerSets that a Gateway in `namespace` takes."""
    match allowed.namespaces.from_:
        case "All":
            return Admission()
        case "Same":
            return Admission(namespaces=(namespace,))
        case "None":
            return Admission(namespaces=())
        case _:
            selector = allowed.namespaces.selector
            return Admission((), None if selector else (), selector_from_api(selector) if selector else EVERYTHING)


def build_listeners(
    memo: Memo,
    document: ListenerDocument,
    gateway: GatewayDocument | None,
    secrets: Secrets,
    grants: Grants,
    config_maps: ConfigMaps,
) -> tuple[tuple[Listener, ...], tuple[Listener, ...], tuple[Problem, ...]]:
    """The listeners of a Gateway, or of a ListenerSet for the `gateway`, that can be in force, those that wait for what
    they refer to, and what is wrong with it. Each bad one is out of force by itself. The decoder lets no two have the
    same port, protocol and hostname."""
    found: list[Listener] = []
    waiting: list[Listener] = []
    places: list[FieldPath] = []
    problems: list[Problem] = []
    for index, spec in enumerate(document.spec.listeners):
        path: FieldPath = ("spec", "listeners", index)
        bad = protocol_problem(document, gateway, path, spec)
        certificates, missing = _certificates(memo, document, path, spec, secrets, grants)
        problems += [bad] if bad is not None else [*missing, *_unknown_kinds(document, path, spec)]
        clients, closed = None, False
        if bad is None and spec.protocol == "HTTPS" and gateway is not None:
            clients, wrong, asked = clients_of_port(gateway, spec.port, config_maps, grants)
            problems += wrong
            closed = asked and clients is None
            if closed:
                message = "nobody vouches for its clients, so this listener is not in force"
                problems.append(problem_at(document, path, "no-client-authority", message, "a ConfigMap with ca.crt"))
        if bad is None and not closed and certificates and terminates(spec) == "MUTUAL":
            mutual = _mutual(memo, document, path, spec, secrets, clients, grants)
            problems += [mutual] if isinstance(mutual, Problem) else []
            clients, closed = (None, True) if isinstance(mutual, Problem) else (mutual, False)
        if bad is None and not closed and (certificates or not needs_certificate(spec)):
            found.append(_listener(document, gateway, path, spec, certificates, clients))
            places.append(path)
        elif bad is None:
            waiting.append(_listener(document, gateway, path, spec, (), None))
            if terminates(spec) == "MUTUAL":
                found.append(shut(waiting[-1]))
                places.append(path)
    if asks_for_http3(document, gateway):
        written = document is not gateway or any(each.protocol == "HTTPS" for each in document.spec.listeners)
        problems += http3_problems(document, zip(places, found, strict=True), written=written)
        return offering(found), tuple(waiting), tuple(problems)
    return tuple(found), tuple(waiting), tuple(problems)


def protocol_problem(
    document: ListenerDocument, gateway: GatewayDocument | None, path: FieldPath, spec: ListenerSpec
) -> Problem | None:
    """Why a listener's protocol keeps it out of force. Of listeners that share a port and cannot, none is in force: the
    API allows no winner. At a port that the `gateway` of a ListenerSet has, that decides (`mesh.gateways.serving`).
    """
    where = (*path, "protocol")
    if spec.protocol not in LISTENER_PROTOCOLS:
        why = _UNSUPPORTED.get(spec.protocol, f"'{printable(spec.protocol[:80])}' is no protocol that weft knows")
        message = f"{why}, so this listener is not in force"
        return problem_at(document, where, "unsupported-protocol", message, " or ".join(LISTENER_PROTOCOLS))
    if gateway is not None and gateway is not document and spec.port in [each.port for each in gateway.spec.listeners]:
        return None
    others = [
        each
        for each in document.spec.listeners
        if each.port == spec.port and each.protocol != spec.protocol and each.protocol in LISTENER_PROTOCOLS
        if not _share(each, spec)
    ]
    if not others:
        return None
    message = f"listener '{others[0].name}' speaks {others[0].protocol} on port {spec.port}, so neither is in force"
    return problem_at(document, where, "protocol-conflict", message, "one protocol per port")


def _share(first: ListenerSpec, second: ListenerSpec) -> bool:
    """Whether listeners of two protocols can stand on one port: HTTPS and TLS, told apart by the server name. UDP has
    ports of its own."""
    if "UDP" in (first.protocol, second.protocol):
        return True
    tells = {first.protocol, second.protocol} == {"HTTPS", "TLS"}
    return tells and first.hostname.lower() != second.hostname.lower()


def _ends_tls(spec: ListenerSpec) -> bool:
    """Whether TLS ends at a listener, which needs a certificate for it."""
    passes = spec.tls is not None and spec.tls.mode == "Passthrough"
    return spec.protocol == "HTTPS" or (spec.protocol == "TLS" and not passes)


def terminates(spec: ListenerSpec) -> str:
    """What Istio's option says of how TLS ends at a listener."""
    return spec.tls.options.terminate_mode if spec.tls is not None and _ends_tls(spec) else ""


def needs_certificate(spec: ListenerSpec) -> bool:
    """Whether a listener shows a certificate of a Secret: not where the mesh's own mutual TLS ends."""
    return _ends_tls(spec) and terminates(spec) != "ISTIO_MUTUAL"


def _mutual(
    memo: Memo,
    document: ListenerDocument,
    path: FieldPath,
    spec: ListenerSpec,
    secrets: Secrets,
    clients: Clients | None,
    grants: Grants,
) -> Clients | Problem:
    """The clients of a listener whose option says MUTUAL; who vouches for those of its port vouches for these."""
    if clients is not None:
        return replace(clients[0], required=True, lenient=False), clients[1]
    references = spec.tls.certificate_refs if spec.tls is not None else ()
    where = (*path, "tls", "options", TERMINATE_MODE)
    return clients_of_secret(memo, document, where, references[0], secrets, grants)


def _unknown_kinds(document: ListenerDocument, path: FieldPath, spec: ListenerSpec) -> Iterator[Problem]:
    for index, item in enumerate(spec.allowed_routes.kinds):
        if not _carries(spec, item):
            where = (*path, "allowedRoutes", "kinds", index, "kind")
            named = item.kind if item.group == GATEWAY_GROUP else f"{item.kind} of {item.group or 'the core group'}"
            message = f"{named} is no kind of route that a listener for {spec.protocol} takes"
            yield problem_at(document, where, "invalid-route-kind", message, " or ".join(_carried(spec)))


_REQUESTS = ("HTTPRoute", "GRPCRoute")
_CARRIED = {
    "HTTP": _REQUESTS,
    "HTTPS": _REQUESTS,
    "TLS": ("TLSRoute", "TCPRoute"),
    "TCP": ("TCPRoute",),
    "UDP": ("UDPRoute",),
}
"""Kinds of routes by a listener's protocol (Gateway API, `Listener`, `Route Types`)."""


def _carried(spec: ListenerSpec) -> tuple[str, ...]:
    """The kinds of routes that a listener can carry. TLS that is passed on is for TLSRoutes alone (GEP-2643)."""
    if spec.protocol == "TLS" and not _ends_tls(spec):
        return ("TLSRoute",)
    return _CARRIED.get(spec.protocol, ())


def _carries(spec: ListenerSpec, item: RouteGroupKind) -> bool:
    return item.group == GATEWAY_GROUP and item.kind in _carried(spec)


def route_kinds_of(spec: ListenerSpec) -> tuple[str, ...]:
    """The kinds of routes that a listener takes: of those that it asks for, or all that its protocol carries."""
    carried = _carried(spec)
    if not spec.allowed_routes.kinds:
        return carried
    return tuple(dict.fromkeys(each.kind for each in spec.allowed_routes.kinds if _carries(spec, each)))


def _listener(
    document: ListenerDocument,
    gateway: GatewayDocument | None,
    path: FieldPath,
    spec: ListenerSpec,
    certificates: tuple[Certificate, ...],
    clients: Clients | None,
) -> Listener:
    tls = spec.tls
    ends = tls is not None and tls.mode == "Terminate"
    return Listener(
        name=spec.name,
        port=spec.port,
        protocol=cast(Protocol, spec.protocol),
        hosts=(ListenerHost(_hostname(spec), admission_from_api(spec, document.key.namespace)),),
        gateway=gateway_name(gateway or document),
        object=document.key,
        origin=document.at(*path),
        server=spec.name if document is gateway else f"{gateway_name(document)}/{spec.name}",
        tls=_tls(tls, certificates, clients) if tls is not None and ends else None,
        bind=next(iter(asked_addresses(gateway.spec)), "") if gateway is not None else "",
    )


def _tls(tls: api.ListenerTls, certificates: tuple[Certificate, ...], clients: Clients | None) -> ListenerTls:
    if tls.options.terminate_mode == "ISTIO_MUTUAL":
        return ListenerTls(mesh=True)
    check, roots = clients or (None, None)
    return ListenerTls(certificates, tls.options.min_tls_version, clients=check, roots=roots)


def _hostname(spec: ListenerSpec) -> str:
    """The host of a listener. Nothing in a connection without TLS names one, nor does a datagram."""
    return "*" if spec.protocol in ("TCP", "UDP") else spec.hostname.lower() or "*"


def admission_from_api(spec: ListenerSpec, namespace: str) -> Admission:
    """What a listener of a Gateway in `namespace` lets in."""
    allowed = spec.allowed_routes
    kinds = tuple(item.kind for item in allowed.kinds if _carries(spec, item))
    if allowed.kinds and not kinds:
        return Admission(namespaces=())
    match allowed.namespaces.from_:
        case "All":
            return Admission(kinds)
        case "Same":
            return Admission(kinds, (namespace,))
        case _:
            selector = allowed.namespaces.selector
            return Admission(kinds, None if selector else (), selector_from_api(selector) if selector else EVERYTHING)


def _certificates(
    memo: Memo, document: ListenerDocument, path: FieldPath, spec: ListenerSpec, secrets: Secrets, grants: Grants
) -> tuple[tuple[Certificate, ...], list[Problem]]:
    if not needs_certificate(spec):
        return (), []
    references = spec.tls.certificate_refs if spec.tls else ()
    problems: list[Problem] = []
    if not references:
        message = f"a listener with protocol {spec.protocol} needs a certificate, so this one is not in force"
        where = (*path, "tls") if spec.tls else path
        problems.append(problem_at(document, where, "no-certificate", message, "tls with certificateRefs"))
    found: list[Certificate] = []
    for place, reference in enumerate(references):
        where = (*path, "tls", "certificateRefs", place)
        certificate = certificate_from_reference(memo, document, where, reference, secrets, grants)
        if isinstance(certificate, Problem):
            problems.append(certificate)
        else:
            found.append(certificate)
    return tuple(found), problems


def _foreign_class(document: ClassDocument) -> Iterable[Problem]:
    controller = document.spec.controller_name
    if controller != CONTROLLER_NAME:
        path = ("spec", "controllerName")
        message = f"the class belongs to '{printable(controller[:80])}': weft leaves its Gateways alone"
        yield problem_at(document, path, "foreign-class", message, CONTROLLER_NAME, severity=Severity.WARNING)


def class_problem(document: GatewayDocument, classes: Sequence[ClassDocument]) -> Problem | None:
    """Why a Gateway is not ours."""
    name = document.spec.gateway_class_name
    path = ("spec", "gatewayClassName")
    found = next((item for item in classes if item.key.name == name), None)
    if found is None and name in BUILT_IN_CLASSES:
        return None
    if found is None:
        known = [*BUILT_IN_CLASSES, *(item.key.name for item in classes)]
        message = f"there is no GatewayClass '{name}'; set gatewayClassName: {BUILT_IN_CLASSES[0]}"
        near = nearest_name(name, known)
        return problem_at(document, path, "unknown-class", message, one_of(known, ""), nearest=near)
    if found.spec.controller_name == CONTROLLER_NAME:
        return None
    controller = printable(found.spec.controller_name[:80])
    message = f"GatewayClass '{name}' belongs to controller '{controller}', so this Gateway is left alone"
    expected = f"class {' or '.join(BUILT_IN_CLASSES)} for a Gateway of this mesh"
    return problem_at(document, path, "foreign-class", message, expected, severity=Severity.WARNING)
