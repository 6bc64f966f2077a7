"""Connection nodes: what a connection must look like, and over which backends connections are divided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from weft.mesh.routes.rules import EVERYBODY, SourceMatch
from weft.mesh.services.service import BackendKey, Frontend
from weft.mesh.services.turning import is_apart
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.origin import Origin


@dataclass(frozen=True, slots=True)
class WeightedTarget:
    """A backend of connections with its share of them, or None for one that does not exist: its share is closed.
    `by_caller`: each says itself where it goes."""

    backend: BackendKey | None
    weight: int = 1
    by_caller: bool = False


@dataclass(frozen=True, slots=True)
class Layer4Route:
    """What is done with connections whose content nobody looks at: they are divided over `backends` by weight; without
    any they are closed. `object` and `origin` say which document made it."""

    backends: tuple[WeightedTarget, ...]
    origin: Origin
    object: ObjectKey

    @property
    def closes(self) -> bool:
        """Whether some of its connections, or all, are closed."""
        return not self.used() or any(each.backend is None and each.weight for each in self.backends)

    def used(self) -> tuple[BackendKey, ...]:
        """The backends that get connections, each once."""
        found = (each.backend for each in self.backends if each.backend is not None and each.weight)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class ConnectionRule:
    """One rule for connections, in force for the callers in `source`. It takes those whose TLS asks for one of `names`
    (server names, wildcards with a leading ``*.``), without names every connection. `tls` True: on ports only that
    carry TLS which nobody opens, False: on the others only. `networks` (if any) are those of the address that was
    called."""

    route: Layer4Route
    names: tuple[str, ...] = ()
    source: SourceMatch = EVERYBODY
    tls: bool | None = None
    networks: tuple[str, ...] = ()

    def called_at(self, addresses: Iterable[str]) -> bool:
        """Whether it is for what is called at one of these addresses."""
        if not self.networks:
            return True
        networks = [ip_network(each) for each in self.networks]
        return any(ip_address(each) in network for each in addresses for network in networks)


@dataclass(frozen=True, slots=True)
class Connections:
    """What becomes of the connections to one port, for one class of callers: `by_name` for those whose TLS asks for a
    server name (an exact one comes before wildcards, a longer wildcard before a shorter one), `otherwise` for all
    others; None: they are closed."""

    by_name: tuple[tuple[str, Layer4Route], ...] = ()
    otherwise: Layer4Route | None = None

    def names_and_routes(self) -> Iterator[tuple[str, Layer4Route]]:
        """Every route with its server name; without one that of all others, which comes last."""
        yield from self.by_name
        if self.otherwise is not None:
            yield "", self.otherwise

    def routes(self) -> Iterator[Layer4Route]:
        """Every route, as often as it is used."""
        return (route for _, route in self.names_and_routes())

    @property
    def closes(self) -> bool:
        """Whether a route of it closes connections."""
        return any(route.closes for route in self.routes())

    def backends(self) -> tuple[BackendKey, ...]:
        """Every backend that gets connections, each once."""
        return tuple(dict.fromkeys(key for route in self.routes() for key in route.used()))


NO_CONNECTIONS = Connections()


def weighted_target(key: BackendKey | None, frontend: Frontend | None, weight: int) -> WeightedTarget:
    """A port of a service as a target of connections: they are carried there as they are, whatever it speaks."""
    port = frontend.port(key.port) if key is not None and frontend is not None else None
    if key is None or frontend is None or port is None:
        return WeightedTarget(None, weight)
    return WeightedTarget(key._replace(opaque=is_apart(port)), weight, frontend.by_caller)


def connections_of(rules: Iterable[ConnectionRule], default: Layer4Route | None) -> Connections:
    """What `rules`, in the order they are tried, come to. Of those for one server name the first is in force. `default`
    is for callers for whom there is no rule at all."""
    by_name: dict[str, Layer4Route] = {}
    otherwise: Layer4Route | None = None
    for rule in rules:
        for name in rule.names:
            by_name.setdefault(name, rule.route)
        if not rule.names and otherwise is None:
            otherwise = rule.route
    if not by_name and otherwise is None:
        return Connections(otherwise=default)
    return Connections(tuple(sorted(by_name.items(), key=lambda item: item[0])), otherwise)


def rules_for_callers(
    rules: tuple[ConnectionRule, ...], namespace: str, selectors: tuple[Labels, ...]
) -> tuple[ConnectionRule, ...]:
    """The rules in force for callers in `namespace` that match exactly these source selectors."""
    return tuple([rule for rule in rules if rule.source.covers(namespace, selectors)])
