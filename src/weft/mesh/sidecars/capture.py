"""Capture: which service a connection is for that its maker addressed to a service or an instance, not to the proxy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.services.addresses import Addresses
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import literal_domains
from weft.mesh.services.service import Backend, BackendKey, Frontend, FrontendPort, Protocol, Service
from weft.mesh.services.turning import is_apart
from weft.mesh.sidecars.outbound import Entry, port_connections
from weft.mesh.views import Captured, CapturedInstance, CapturedPort, Tunnel
from weft.model.addresses import is_ip_address, is_loopback


@dataclass(frozen=True, slots=True, eq=False)
class CapturedEntry:
    """How callers whose connections are captured reach one service: its `entry`, which its addresses name too, and its
    `ports`. Compared by identity."""

    entry: Entry
    ports: tuple[CapturedPort, ...]


def capture_entries(
    memo: Memo, entries: Iterable[Entry], catalog: Catalog, addresses: Addresses
) -> tuple[CapturedEntry, ...]:
    """The entries of a class of callers, each with its ports by address."""
    return tuple(
        [
            memo(capture_entry, memo, each, catalog.by_host.get(each.host), addresses.of(each.host).addresses)
            for each in entries
        ]
    )


def capture_entry(memo: Memo, entry: Entry, frontend: Frontend | None, addresses: tuple[str, ...]) -> CapturedEntry:
    """One entry. Hosts that are no services have no address by which they could be known."""
    if frontend is None or not (addresses or frontend.by_caller):
        return CapturedEntry(entry, ())
    ports = tuple([_port(memo, entry, frontend, port, addresses) for port in frontend.ports if _reached(entry, port)])
    keys = [key for port in ports for key in port.connections.backends()]
    more = literal_domains("", tuple(each for each in addresses if "/" not in each))[1:]
    return CapturedEntry(
        replace(
            entry,
            virtual_hosts=tuple([replace(each, domains=_joined(each.domains, more)) for each in entry.virtual_hosts]),
            tunnels=tuple([replace(each, domains=_joined(each.domains, more)) for each in entry.tunnels]),
            backends=tuple(dict.fromkeys((*entry.backends, *[key._replace(opaque=False) for key in keys]))),
            carried=tuple(dict.fromkeys((*entry.carried, *[key for key in keys if key.opaque]))),
        ),
        ports,
    )


def instance_keys(services: Iterable[Service]) -> tuple[BackendKey, ...]:
    """The backends by which instances of headless services are reached: whatever is said, it is carried as it is."""
    return tuple([_key(service.frontend, port) for service in services for port, _ in service.ports()])


def build_captured(ports: tuple[CapturedPort, ...], direct: tuple[Backend, ...], *services: Service) -> Captured:
    """All of a class of callers. `services` are those without addresses of their own, `direct` the backends of their
    ports."""
    known = {backend.key for backend in direct}
    found: dict[tuple[str, int], CapturedInstance] = {}
    for service in services:
        for instance in _instances(service):
            if instance.key in known:
                found.setdefault((instance.address, instance.port), instance)
    return Captured(ports, tuple(found.values()), direct)


def _reached(entry: Entry, port: FrontendPort) -> bool:
    """Whether the callers may call it: a Sidecar may leave them some ports only."""
    numbers = {*[each.port for each in entry.virtual_hosts], *[each.port for each in entry.tunnels]}
    return port.number in numbers


def _port(memo: Memo, entry: Entry, frontend: Frontend, port: FrontendPort, addresses: tuple[str, ...]) -> CapturedPort:
    called = frontend.called if frontend.by_caller else ""
    protocol = Protocol.TCP if _turns(port) and not called else port.protocol
    if protocol not in (Protocol.TCP, Protocol.AUTO):
        return CapturedPort(frontend.host, port.number, addresses, protocol, called=called)
    connections = entry.connections(port.number) or memo.over(port_connections, (), frontend, port)
    inside = None
    if connections.by_name and port.protocol is not Protocol.TCP:
        inside = Tunnel(frontend.host, (), port.number, connections, frontend.key)
    return CapturedPort(frontend.host, port.number, addresses, protocol, connections, inside, called, port.tls)


def _turns(port: FrontendPort) -> bool:
    """Whether its servers take requests and connections: the routes for requests come or go, and connections that are
    carried as they are need none."""
    return port.turning is not None and port.turning.beside is not None


def _joined(domains: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*domains, *more)))


def _key(frontend: Frontend, port: FrontendPort) -> BackendKey:
    return BackendKey(frontend.host, port.number, opaque=is_apart(port))


def _may_be_called(host: str) -> bool:
    """Loopback is never captured: there an address says nothing of who is meant."""
    return is_ip_address(host) and not is_loopback(host)


def _instances(service: Service) -> Iterator[CapturedInstance]:
    """Each instance at the numbers by which callers may know its port: the service's and its own. Also one that is not
    healthy: who has looked it up before would else be passed on to it, in clear."""
    for port, endpoints in service.ports():
        numbers = dict.fromkeys((port.number, *((port.target,) if isinstance(port.target, int) else ())))
        for endpoint in endpoints:
            if _may_be_called(endpoint.address.host):
                for number in numbers:
                    yield CapturedInstance(
                        _key(service.frontend, port), endpoint.address.host, number, endpoint.address,
                        endpoint.mutual_tls,
                    )  # fmt: skip
