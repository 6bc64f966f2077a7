"""Rules of the Gateway API's TCPRoute, TLSRoute and UDPRoute."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, duplicate
from weft.schema.kinds.layer4routes import Layer4BackendRef, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec
from weft.schema.rules.httproute import attached_route, backend


def route(spec: TcpRouteSpec | TlsRouteSpec | UdpRouteSpec) -> Iterator[Finding]:
    """Parents differ from each other."""
    yield from attached_route(spec.parent_refs, [rule.name for rule in spec.rules])


def hostnames(spec: TlsRouteSpec) -> Iterator[Finding]:
    """No client asks for an address (RFC 6066), and a name stands once."""
    for index, name in enumerate(spec.hostnames):
        if name in spec.hostnames[:index]:
            yield duplicate(("hostnames", index), f"the hostname '{name}' is given twice")
        if _is_address(name):
            yield Finding(("hostnames", index), f"found the address {name}", "a DNS name: no client asks for another")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def backend_ref(spec: Layer4BackendRef) -> Iterator[Finding]:
    """A Service is named with its port."""
    yield from backend(spec)


RULES: Mapping[type, tuple[Rule, ...]] = {
    TcpRouteSpec: (route,),
    TlsRouteSpec: (route, hostnames),
    UdpRouteSpec: (route,),
    Layer4BackendRef: (backend_ref,),
}
