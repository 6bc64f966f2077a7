"""Rules of Service and Secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.key_pairs import CHAIN, KEY, pair_fault
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, no_effect
from weft.schema.hosts import is_own_host
from weft.schema.kinds.core import SecretSpec, ServiceSpec


def service(spec: ServiceSpec) -> Iterator[Finding]:
    """Ports are there, unique and named; ExternalName stands alone."""
    numbers: set[tuple[int, str]] = set()
    names: set[str] = set()
    for index, port in enumerate(spec.ports):
        if (port.port, port.protocol) in numbers:
            yield duplicate(("ports", index, "port"), f"port {port.port} is given twice")
        numbers.add((port.port, port.protocol))
        if len(spec.ports) > 1 and not port.name:
            yield missing(("ports", index), "a service with several ports needs a name for each", "name")
        if port.name and port.name in names:
            yield duplicate(("ports", index, "name"), f"the port name '{port.name}' is given twice")
        names.add(port.name)
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield missing((), "a service of type ExternalName needs 'externalName'")
        elif is_own_host(spec.external_name):
            yield Finding(
                ("externalName",),
                f"'{spec.external_name}' is the own host of every proxy that calls it: gateways would publish what "
                "listens there for nobody else",
                "the name of another host",
                code="own-host",
            )
        if spec.selector:
            yield conflicting(("selector",), "a service of type ExternalName selects no workloads", "no selector")
        if spec.cluster_ip == "None":
            yield conflicting(("clusterIP",), "a service of type ExternalName has no address", "no clusterIP")
        return
    if spec.external_name:
        yield conflicting(("externalName",), "'externalName' is for services of type ExternalName", "no externalName")
    if not spec.ports and spec.cluster_ip != "None":
        yield missing((), "the field 'ports' is missing")


def cluster_only(spec: ServiceSpec) -> Iterator[Finding]:
    """What only a cluster does, and what callers meet here instead."""
    if spec.type in ("NodePort", "LoadBalancer"):
        yield no_effect(("type",), f"{spec.type} opens no port of the host; a Gateway publishes services")
    for index, port in enumerate(spec.ports):
        if port.protocol == "SCTP":
            yield no_effect(
                ("ports", index, "protocol"), f"{port.protocol} is not carried by the mesh: the port is left out"
            )
    if "IPv6" in spec.ip_families or spec.ip_family_policy != "SingleStack":
        field = "ipFamilies" if "IPv6" in spec.ip_families else "ipFamilyPolicy"
        yield no_effect((field,), "IP families have no effect; endpoints are called where they registered")


def secret(spec: SecretSpec) -> Iterator[Finding]:
    """A TLS secret has both its parts, in PEM, and they fit together."""
    if spec.type != "kubernetes.io/tls":
        return
    pems = 0
    for key in (CHAIN, KEY):
        if key not in spec.data:
            yield missing(("data",), f"a secret of type kubernetes.io/tls needs '{key}'")
        elif b"-----BEGIN " not in spec.data[key]:
            yield Finding(("data", key), "found something else", "PEM text (-----BEGIN ...), encoded in base64")
        else:
            pems += 1
    fault = pair_fault(spec.data[CHAIN], spec.data[KEY]) if pems == 2 else None
    if fault is not None:
        field, found, expected = fault
        yield Finding(("data", field), found, expected, code="bad-certificate")


RULES: Mapping[type, tuple[Rule, ...]] = {ServiceSpec: (service, cluster_only), SecretSpec: (secret,)}
