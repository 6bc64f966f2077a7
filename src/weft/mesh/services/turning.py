"""Turning: ports that go over from requests to connections, or back, and what they are meanwhile.

A port's own backend is one cluster, which speaks HTTP or carries connections as they are; both at once it cannot. So
while a port turns, connections go to the opaque variant of its backend, and its own changes when nothing that is led
there needs what it was.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from weft.mesh.memo import Memo
from weft.mesh.services.service import Frontend, FrontendPort, Protocol, Turning
from weft.model.document import ObjectKey


class PortName(NamedTuple):
    """A port, whatever it speaks: what declares it, the host by which it is called, and its number."""

    object: ObjectKey
    called: str
    number: int


class Change(NamedTuple):
    """What a port speaks before and after a change."""

    before: Protocol
    after: Protocol


class Phase(enum.Enum):
    """How far a change is. By the documents before it: servers accept both (OPENED), and the ports' own backends speak
    what requests need (READIED). By the documents after it: callers act on them (TURNED), and the ports' own backends
    speak what is asked for (SETTLED). What comes after is what documents say, but requests in connections of the time
    before are still carried (LINGERING)."""

    OPENED = enum.auto()
    READIED = enum.auto()
    TURNED = enum.auto()
    SETTLED = enum.auto()
    LINGERING = enum.auto()


Turnings = Mapping[PortName, Turning]
"""The ports that turn, and what they are meanwhile."""
NO_TURNINGS: Turnings = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """The ports that turn, and how. Compared by identity."""

    changes: Mapping[PortName, Change]

    def before(self) -> tuple[Phase, ...]:
        """The phases by the documents before the change. Own backends that carry connections have to change."""
        carried = any(change.before is Protocol.TCP for change in self.changes.values())
        return (Phase.OPENED, Phase.READIED) if carried else (Phase.OPENED,)

    def after(self) -> tuple[Phase, ...]:
        """The phases by the documents after it."""
        carried = any(change.after is Protocol.TCP for change in self.changes.values())
        return (Phase.TURNED, Phase.SETTLED) if carried else (Phase.TURNED,)

    def at(self, phase: Phase) -> Turnings:
        """What the ports are in a phase."""
        found = ((name, _turning(change, phase)) for name, change in self.changes.items())
        return MappingProxyType({name: turning for name, turning in found if turning is not None})


NO_TURNS = Turns(MappingProxyType({}))


def turns_between(before: Iterable[Frontend], after: Iterable[Frontend]) -> Turns:
    """Which ports of these services carry requests, connections or either, and others of these three afterwards."""
    old, new = _protocols(before), _protocols(after)
    both = ((name, Change(old[name], new[name])) for name in old if name in new)
    changes = {name: change for name, change in both if _layers(change.before) != _layers(change.after)}
    return Turns(MappingProxyType(changes)) if changes else NO_TURNS


def turned(memo: Memo, frontends: tuple[Frontend, ...], turnings: Turnings) -> tuple[Frontend, ...]:
    """The services with what those of their ports that turn are. The others stay the same objects."""
    objects = {name.object for name in turnings}
    return tuple([memo(_turned, each, turnings) if each.key in objects else each for each in frontends])


def carries_requests(port: FrontendPort) -> bool:
    """Whether rules for requests can be in force on a port."""
    return port.protocol is not Protocol.TCP or port.turning is not None


def is_apart(port: FrontendPort) -> bool:
    """Whether connections to a port have another backend than its own."""
    return port.protocol is not Protocol.TCP or (port.turning is not None and port.turning.beside is not None)


def spoken(port: FrontendPort) -> Protocol:
    """What is spoken with the backend of a port."""
    return port.protocol if port.turning is None else port.turning.spoken


def _turned(frontend: Frontend, turnings: Turnings) -> Frontend:
    ports = tuple(_turned_port(port, turnings.get(_name(frontend, port))) for port in frontend.ports)
    return replace(frontend, ports=ports)


def _turned_port(port: FrontendPort, turning: Turning | None) -> FrontendPort:
    """What lingers is of the last change of the port: it may be another port by now."""
    if turning is None or (turning.beside is None and port.protocol is not turning.spoken):
        return port
    return replace(port, turning=turning)


def _turning(change: Change, phase: Phase) -> Turning | None:
    before, after = change
    carried = after is Protocol.TCP
    requests = after if before is Protocol.TCP else before
    return {
        Phase.OPENED: Turning(before, requests, after),
        Phase.READIED: Turning(requests, requests, after),
        Phase.TURNED: Turning(requests if carried else after, requests, before),
        Phase.SETTLED: Turning(after, requests, before),
        Phase.LINGERING: Turning(after, requests) if carried else None,
    }[phase]


def _protocols(frontends: Iterable[Frontend]) -> dict[PortName, Protocol]:
    return {_name(frontend, port): port.protocol for frontend in frontends for port in frontend.ports}


def _name(frontend: Frontend, port: FrontendPort) -> PortName:
    return PortName(frontend.key, frontend.called, port.number)


def _layers(protocol: Protocol) -> str:
    return protocol.value if protocol in (Protocol.TCP, Protocol.AUTO) else "requests"
