"""Connections at gateways: the chains of a listener that passes them on, made of the routes in force on its hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.mesh.gateways.gateway import Attached, GatewayHost
from weft.mesh.gateways.listeners import Listener
from weft.mesh.memo import Memo
from weft.mesh.routes.compiled import gateway_connections
from weft.mesh.routes.connections import ConnectionRule, Layer4Route, rules_for_callers
from weft.mesh.routes.precedence import owner_order
from weft.mesh.views import Layer4Chain
from weft.model.labels import Labels
from weft.schema.hosts import intersection


def build_chains(
    memo: Memo, listener: Listener, hosts: tuple[GatewayHost, ...], namespace: str, selectors: tuple[Labels, ...]
) -> Iterator[Layer4Chain]:
    """The chains of a listener for TLS or TCP. `hosts` are those that the server name chooses; the gateway proxy stands
    in `namespace` and has the labels of `selectors`. What no rule takes is closed. An address range is that of the
    first rule which names it: Envoy refuses the whole of a listener with two chains for one."""
    if listener.automatic:
        nowhere = memo(Layer4Route, (), listener.origin, listener.object)
        yield memo(_automatic, listener, nowhere)
        return
    routes: dict[tuple[str, tuple[str, ...]], Layer4Route] = {}
    taken: set[tuple[str, str]] = set()
    for host, rule in _rules(memo, listener, hosts):
        if not rules_for_callers((rule,), namespace, selectors):
            continue
        for name in _names(listener, host, rule):
            left = tuple([each for each in dict.fromkeys(rule.networks) if (name, each) not in taken])
            if left or not rule.networks:
                taken |= {(name, each) for each in left}
                routes.setdefault((name, left), rule.route)
    if not routes:
        nowhere = Layer4Route((), listener.origin, listener.object)
        routes = {(name, ()): nowhere for name in (listener.hostnames if listener.protocol == "TLS" else ("*",))}
    for (name, networks), route in sorted(routes.items(), key=lambda item: item[0]):
        yield memo(_chain, listener, name, networks, route)


def _rules(memo: Memo, listener: Listener, hosts: tuple[GatewayHost, ...]) -> Iterator[tuple[str, ConnectionRule]]:
    """The rules of all hosts, the oldest document's first, each with the host by which its document is attached."""
    attached = [(each.host, one) for each in hosts for one in each.routes]
    for host, (route, gateway) in sorted(attached, key=_order):
        passes = listener.protocol == "TLS" and listener.tls is None
        for rule in gateway_connections(memo, route, listener.port, gateway, passes).rules:
            yield host, rule


def _order(entry: tuple[str, Attached]) -> tuple[float, str, str]:
    return owner_order(entry[1][0].document)


def _names(listener: Listener, host: str, rule: ConnectionRule) -> Iterable[str]:
    """The server names by which a rule is chosen: those that its document has at this host of the listener. Without
    TLS nothing is asked for."""
    if listener.protocol != "TLS":
        return ("*",)
    return filter(None, (intersection(name, host) for name in rule.names or (host,)))


def _automatic(listener: Listener, nowhere: Layer4Route) -> Layer4Chain:
    """Whatever name is asked for: names of services stand in it, and no wildcard of a server covers ``outbound_.…``."""
    return Layer4Chain(listener.server, nowhere, automatic=True)


def _chain(listener: Listener, name: str, networks: tuple[str, ...], route: Layer4Route) -> Layer4Chain:
    where = f" to {','.join(networks)}" if networks else ""
    return Layer4Chain(
        name=f"{listener.server} {name}{where}" if name != "*" or networks else listener.server,
        route=route,
        hostnames=() if listener.protocol != "TLS" else (name,),
        subnets=networks,
        tls=listener.tls.edge() if listener.tls else None,
    )
