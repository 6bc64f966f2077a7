"""The verdict on a connection: where a view carries it, without Envoy. Tests check real Envoys against it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from weft.mesh.routes.connections import Connections, Layer4Route, WeightedTarget
from weft.mesh.services.hosts import best_match
from weft.mesh.views import GatewayPort, GatewayView, Layer4Chain, SidecarView
from weft.schema.hosts import clean_host
from weft.xds.services.names import NOWHERE, passed_name
from weft.xds.services.shares import weighted_clusters


@dataclass(frozen=True, slots=True)
class Connection:
    """What an application connects to: a `host` and `port` at its sidecar, or a `port` of a gateway, there at
    `address`. `server_name` is what its TLS asks for, empty without TLS or without a name; `tls`: whether it speaks
    TLS."""

    port: int
    host: str = ""
    server_name: str = ""
    tls: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """What becomes of a connection: the clusters it may be carried to, with their shares, which with the share that is
    `closed` sum to 1. `route` says which document made it so; None: nothing is for it."""

    shares: tuple[tuple[str, float], ...] = ()
    closed: float = 1.0
    route: Layer4Route | None = None


CLOSED = Carried()


def carry(view: SidecarView | GatewayView, connection: Connection) -> Carried:
    """The fate of a connection that an application makes through its sidecar, or a client to a gateway. Whether
    endpoints are there and well is left out."""
    if isinstance(view, GatewayView):
        port = next((each for each in view.ports if each.port == connection.port), None)
        chain = _chain(port, connection) if port is not None else None
        if chain is not None and chain.automatic:
            return _passed_on(view, chain, connection)
        return CLOSED if chain is None else _carried(chain.route)
    found = connections_at(view, connection.host, connection.port)
    route = _by_name(found, connection) if found is not None else None
    return CLOSED if route is None else _carried(route)


def connections_at(view: SidecarView, host: str, port: int) -> Connections | None:
    """What a sidecar does with connections to a port of a host that carry no HTTP; None if it has nothing to say."""
    name = clean_host(host)
    for tunnel in view.outbound.tunnels:
        if tunnel.port == port and name in tunnel.domains:
            return tunnel.connections
    return next((each.connections for each in view.upstreams if each.port == port and each.host == name), None)


def routes_by_name(view: SidecarView | GatewayView, connection: Connection) -> tuple[tuple[str, Layer4Route], ...]:
    """The rules for connections to that port, each with a server name that it is for; empty: whatever is asked for."""
    if isinstance(view, GatewayView):
        chains = [each for port in view.ports if port.port == connection.port for each in port.chains]
        return tuple((name, each.route) for each in chains for name in each.hostnames or ("",))
    found = connections_at(view, connection.host, connection.port)
    return tuple(found.names_and_routes()) if found is not None else ()


def _by_name(connections: Connections, connection: Connection) -> Layer4Route | None:
    by_name = dict(connections.by_name)
    best = best_match(tuple(by_name), _asked(connection)) if _asked(connection) else None
    return connections.otherwise if best is None else by_name[best]


def _asked(connection: Connection) -> str:
    return connection.server_name.lower() if connection.tls else ""


def _chain(port: GatewayPort, connection: Connection) -> Layer4Chain | None:
    """Envoy looks at the address first, the narrowest range of it, and then at the server name."""
    fitting = [each for each in port.chains if _reached(each, connection.address)]
    widths = {id(each): _width(each, connection.address) for each in fitting}
    narrowest = max(widths.values(), default=-1)
    left = [each for each in fitting if widths[id(each)] == narrowest]
    if port.protocol == "TCP":
        return next(iter(left), None)
    if not connection.tls:
        return None
    names = {name: each for each in left for name in each.hostnames or ("*",)}
    best = best_match(tuple(names), _asked(connection)) if _asked(connection) else None
    return names.get(best or "*")


def _passed_on(view: GatewayView, chain: Layer4Chain, connection: Connection) -> Carried:
    """The server name says which backend it is for."""
    key = next((one.key for one in view.passed if passed_name(one.key) == _asked(connection)), None)
    if key is None:
        return CLOSED
    return _carried(Layer4Route((WeightedTarget(key),), chain.route.origin, chain.route.object))


def _reached(chain: Layer4Chain, address: str) -> bool:
    return not chain.subnets or _width(chain, address) >= 0


def _width(chain: Layer4Chain, address: str) -> int:
    """The length of the longest prefix of a chain that covers the address; -1 if it asks for none, or for others."""
    if not address:
        return -1
    networks = [ip_network(each, strict=False) for each in chain.subnets]
    return max((each.prefixlen for each in networks if ip_address(address) in each), default=-1)


def _carried(route: Layer4Route) -> Carried:
    shares = weighted_clusters(route.backends)
    total = sum(weight for _, weight in shares)
    found = tuple((name, weight / total) for name, weight in shares if name != NOWHERE)
    return Carried(found, 1.0 - sum(share for _, share in found) if len(found) < len(shares) else 0.0, route)
