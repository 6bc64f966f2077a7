"""What a proxy must hold for the guards of routes: the clusters of those who are asked, and the secrets of logins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.mesh.access.access import Access
from weft.mesh.access.guard import Login, Server, servers_of
from weft.mesh.routes.rules import VirtualHost
from weft.xds.filters.oauth2 import secret_names
from weft.xds.signals.collectors import collector_name
from weft.xds.snapshot import CLUSTER, SECRET


def logins_of(host: VirtualHost) -> Iterator[Login]:
    """Where the clients of a host log in."""
    yield from (login for rule in host.rules if rule.guard and (login := rule.guard.find(Login)) is not None)


def servers_asked(host: VirtualHost) -> Iterator[Server]:
    """Who is asked about requests of a host."""
    return servers_of((rule.authorizer for rule in host.rules), logins_of(host))


def clusters_of_servers(servers: Iterable[Server]) -> tuple[str, ...]:
    """The clusters that lead to servers, each once."""
    return tuple(dict.fromkeys(collector_name(collector, grpc) for collector, grpc in servers))


def required_by(hosts: Iterable[VirtualHost]) -> tuple[tuple[str, str], ...]:
    """What the guards of `hosts` refer to, as (type, name), but for the clusters of Services."""
    found: dict[tuple[str, str], None] = {}
    for host in hosts:
        outside = [server for server in servers_asked(host) if server[0].backend is None]
        found.update({(CLUSTER, name): None for name in clusters_of_servers(outside)})
        found.update({(SECRET, name): None for login in logins_of(host) for name in secret_names(login)})
    return tuple(found)


def required_of(access: Access) -> tuple[tuple[str, str], ...]:
    """What the questions of a place refer to."""
    return tuple((CLUSTER, name) for name in clusters_of_servers(servers_of(access.authorizers)))
