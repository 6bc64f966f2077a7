"""Callers and places: who may be meant by a name that calls, and what by a name that is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.explain.asked import met_at
from weft.mesh.access.access import Access
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import Frontend, FrontendPort, MutualTlsMode, Protocol
from weft.mesh.view import build_view
from weft.mesh.views import GatewayPort, GatewayView, InboundPort
from weft.model.identity import SpiffeId, is_dns_label, spiffe_id_from_text
from weft.model.labels import selects
from weft.model.workload import SocketAddress, Workload, WorkloadPort
from weft.schema.wording import nearest_name

OUTSIDE, NOBODY = "outside", "nobody"
_SPIFFE, _ACCOUNT = "spiffe://", "sa:"
_NOWHERE = SocketAddress("0.0.0.0", 0)  # noqa: S104 - nothing listens there: it stands for an address that is not known


class UnknownNameError(Exception):
    """A name that means nothing here; the text says what is near."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `identity` is None without a certificate; `outside`: a client of a gateway."""

    text: str
    identity: SpiffeId | None = None
    outside: bool = False

    @property
    def principal(self) -> str:
        """As policies write it; empty without a certificate."""
        return str(self.identity).removeprefix(_SPIFFE) if self.identity else ""


@dataclass(frozen=True, slots=True)
class Place:
    """What is called: a port of one workload, or of a gateway proxy. `workload` is NAMESPACE/NAME, or says that there
    is none yet (`described`); `address` where it accepts, if that is one address. `meets` is what clients of a gateway
    have to show besides, and who else is asked about them."""

    workload: str
    port: int
    protocol: Protocol
    mode: MutualTlsMode
    access: Access
    address: str = ""
    gateway: bool = False
    described: bool = False
    meets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Called:
    """What a name that is called means: the service and port, if it is one, and its places."""

    text: str
    frontend: Frontend | None
    places: tuple[Place, ...]


def caller_of(mesh: Mesh, text: str, namespace: str = "default") -> Caller:
    """Who is meant by ``NAMESPACE/WORKLOAD``, ``NAMESPACE/ACCOUNT``, ``sa:NAMESPACE/ACCOUNT``, ``spiffe://…``,
    ``outside`` (through a gateway) or ``nobody`` (without a certificate). Raises UnknownNameError."""
    if text == OUTSIDE:
        return Caller(text, outside=True)
    if text == NOBODY:
        return Caller(text)
    if text.startswith(_SPIFFE):
        identity = spiffe_id_from_text(text)
        if identity is None:
            raise UnknownNameError(f"'{text}': expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
        return Caller(text, identity)
    if text.startswith(_ACCOUNT):
        return Caller(text, _account(mesh, text.removeprefix(_ACCOUNT), namespace))
    found = workload_of(mesh, text, namespace)
    if found is not None:
        trust_domain = mesh.settings.trust_domain
        return Caller(text, SpiffeId(trust_domain, found.namespace, found.service_account))
    space, name = _split(text, namespace)
    if any(one.namespace == space and one.service_account == name for one in mesh.workloads):
        return Caller(text, SpiffeId(mesh.settings.trust_domain, space, name))
    known = [name for one in mesh.workloads for name in (one.name, f"{one.namespace}/{one.name}")]
    hint = _near(text, known, "weft get workloads")
    raise UnknownNameError(
        f"no workload, service or service account '{text}' is known{hint}; a service account that no workload has yet "
        f"is {_ACCOUNT}NAMESPACE/NAME, a client of a gateway is {OUTSIDE}, one without a certificate is {NOBODY}"
    )


def _account(mesh: Mesh, text: str, namespace: str) -> SpiffeId:
    space, name = _split(text, namespace)
    if not is_dns_label(space) or not is_dns_label(name):
        raise UnknownNameError(f"'{text}': expected NAMESPACE/ACCOUNT")
    return SpiffeId(mesh.settings.trust_domain, space, name)


def workload_of(mesh: Mesh, text: str, namespace: str) -> Workload | None:
    """The workload of that name, or the first one behind the service of that name."""
    space, name = _split(text, namespace)
    found = next((one for one in mesh.workloads if (one.namespace, one.name) == (space, name)), None)
    if found is None and "/" not in text:
        found = next((one for one in mesh.workloads if text in (one.name, one.proxy)), None)
    if found is not None:
        return found
    frontend = mesh.catalog.find(name, space)
    return next(iter(_behind(mesh, frontend)), None) if frontend else None


def called_of(mesh: Mesh, text: str, namespace: str, memo: Memo) -> Called:
    """What is meant by ``NAMESPACE/SERVICE:PORT``, ``SERVICE.NAMESPACE:PORT``, or a workload or gateway in place of the
    service. Without a port: all of them. Raises UnknownNameError."""
    name, colon, digits = text.rpartition(":")
    if not colon:
        name, digits = text, ""
    elif not digits.isdecimal():
        raise UnknownNameError(f"'{text}': expected a port number after the colon, as in NAMESPACE/SERVICE:PORT")
    number = int(digits) if digits else None
    space, short = _split(name, namespace)
    frontend = mesh.catalog.find(short, space)
    if frontend is not None:
        return Called(text, frontend, tuple(_of_service(mesh, frontend, number, memo)))
    workload = workload_of(mesh, name, namespace)
    if workload is None:
        pairs = [(one.namespace, one.name) for one in mesh.catalog.frontends]
        pairs += [(one.namespace, one.name) for one in mesh.workloads]
        known = [text for space, short in pairs for text in (short, f"{space}/{short}")]
        raise UnknownNameError(f"no service or workload '{name}' is known{_near(name, known, 'weft get services')}")
    places = tuple(one for one in places_of(mesh, workload, memo) if number in (None, one.port))
    if number is not None and not places:
        ports = ", ".join(str(one.port) for one in places_of(mesh, workload, memo)) or "none"
        raise UnknownNameError(f"workload {workload.namespace}/{workload.name} has no port {number}; it has {ports}")
    return Called(text, None, places)


def places_of(mesh: Mesh, workload: Workload, memo: Memo) -> tuple[Place, ...]:
    """The ports of a workload, or of the gateway that it is."""
    view = build_view(mesh, workload, memo)
    name = f"{workload.namespace}/{workload.name}"
    if isinstance(view, GatewayView):
        return memo.over(_gateway_places, view.ports, name)
    return memo.over(_places, view.inbound, name)


def _gateway_places(ports: tuple[GatewayPort, ...], name: str) -> tuple[Place, ...]:
    return tuple(_gateway_place(name, port) for port in ports)


def _places(ports: tuple[InboundPort, ...], name: str) -> tuple[Place, ...]:
    return tuple(_place(name, port) for port in ports)


def gateways_of(mesh: Mesh, memo: Memo) -> Iterator[tuple[Workload, GatewayView]]:
    """The gateway proxies and what they do."""
    for workload in mesh.workloads:
        if workload.gateway is not None:
            view = build_view(mesh, workload, memo)
            if isinstance(view, GatewayView):
                yield workload, view


def leads_to(port: GatewayPort, host: str) -> bool:
    """Whether any rule of a gateway's port leads to the service `host`."""
    hosts = (each for server in port.servers for each in server.virtual_hosts)
    return any(key.host == host for each in hosts for rule in each.rules for key in rule.backends())


def service_places(
    mesh: Mesh, frontend: Frontend, memo: Memo, number: int | None = None
) -> Iterator[tuple[FrontendPort, tuple[Place, ...]]]:
    """Each port of a service (or the one of that number) with the places behind it: a port of each workload that it
    selects, or of one as it would be."""
    workloads = _behind(mesh, frontend)
    for port in frontend.ports:
        if number not in (None, port.number):
            continue
        behind = [(one, found) for one in workloads if (found := port_behind(frontend, port.target, one))]
        if behind:
            places = [_at(mesh, one, target.port, memo) for one, target in behind]
            yield port, tuple(place for place in places if place is not None)
            continue
        any_workload = _described(frontend, port)
        place = _at(mesh, any_workload, any_workload.ports[0].port, memo)
        if place is not None:
            name = f"any workload of {frontend.key}"
            yield port, (replace(place, workload=name, address="", described=True),)


def _of_service(mesh: Mesh, frontend: Frontend, number: int | None, memo: Memo) -> Iterator[Place]:
    """The places behind a service's ports, each once."""
    if number is not None and frontend.port(number) is None:
        raise UnknownNameError(f"{frontend.key} has no port {number}; it has {frontend.port_numbers() or 'none'}")
    found = [place for _, places in service_places(mesh, frontend, memo, number) for place in places]
    yield from dict.fromkeys(found)


def _at(mesh: Mesh, workload: Workload, port: int, memo: Memo) -> Place | None:
    return next((one for one in places_of(mesh, workload, memo) if one.port == port and not one.gateway), None)


def _described(frontend: Frontend, port: FrontendPort) -> Workload:
    """A workload as the service asks for: no other label, and the port that it leads to."""
    target = port.target
    named = target if isinstance(target, str) else ""
    behind = WorkloadPort(port.number if isinstance(target, str) else target, _NOWHERE, _NOWHERE, named)
    return Workload("any", frontend.namespace, "default", frontend.selector, (behind,))


def _behind(mesh: Mesh, frontend: Frontend) -> tuple[Workload, ...]:
    if not frontend.selector:
        return ()
    space = (one for one in mesh.workloads if one.namespace == frontend.namespace)
    return tuple(one for one in space if selects(frontend.selector, one.labels))


def _place(name: str, port: InboundPort) -> Place:
    return Place(name, port.port, port.protocol, port.mode, port.access, _address(port.listen))


def _gateway_place(name: str, port: GatewayPort) -> Place:
    """Clients of a gateway need no certificate of the mesh."""
    where = _address(port.listen)
    return Place(
        name, port.port, Protocol.HTTP, MutualTlsMode.DISABLE, port.access, where, gateway=True, meets=met_at(port)
    )


def _address(where: SocketAddress) -> str:
    return "" if where.host in ("0.0.0.0", "::") else where.host  # noqa: S104 - compared, not bound


def _split(text: str, namespace: str) -> tuple[str, str]:
    space, slash, name = text.partition("/")
    return (space, name) if slash else (namespace, text)


def _near(text: str, known: list[str], where: str) -> str:
    near = nearest_name(text, known)
    return f"; did you mean '{near}'?" if near else f"; see {where}"
