"""Rules of VirtualService for connections, as Istio checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from weft.model.origin import FieldPath
from weft.schema.findings import Finding, Rule, missing
from weft.schema.hosts import covers
from weft.schema.kinds.virtualservice import (
    L4MatchAttributes,
    RouteDestination,
    TcpRoute,
    TlsMatchAttributes,
    TlsRoute,
    VirtualServiceSpec,
)
from weft.schema.rules.virtualservice import gateway_names


def server_names(spec: VirtualServiceSpec) -> Iterator[Finding]:
    """Server names are among the hosts."""
    for index, rule in enumerate(spec.tls):
        for place, match in enumerate(rule.match):
            for number, name in enumerate(match.sni_hosts):
                if not any(covers(host, name) for host in spec.hosts):
                    path: FieldPath = ("tls", index, "match", place, "sniHosts", number)
                    yield Finding(path, f"'{name}' is not among the document's hosts", "one of hosts, or within one")


def match(spec: TlsMatchAttributes | L4MatchAttributes) -> Iterator[Finding]:
    """Gateways are well formed."""
    yield from gateway_names(("gateways",), spec.gateways)


def rule(spec: TlsRoute | TcpRoute) -> Iterator[Finding]:
    """Somebody gets the connections."""
    yield from _weights(spec.route)


def _weights(route: Sequence[RouteDestination]) -> Iterator[Finding]:
    if len(route) > 1 and not any(each.weight for each in route):
        yield missing(("route",), "the weights add up to 0", "weight in each destination")


RULES: Mapping[type, tuple[Rule, ...]] = {
    TlsMatchAttributes: (match,),
    L4MatchAttributes: (match,),
    TlsRoute: (rule,),
    TcpRoute: (rule,),
}
