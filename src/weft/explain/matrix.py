"""The matrix: who can call whom in the whole mesh, by service account and service port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from weft.explain.answer import Decider
from weft.explain.authorization import object_text
from weft.explain.callers import NOBODY, Caller, Place, service_places
from weft.mesh.access.reach import Reach, Reaches, any_call, reach_of
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.model.identity import SpiffeId

_RANK = (Reaches.NO, Reaches.SOME, Reaches.YES, Reaches.UNCONSTRAINED)


@dataclass(frozen=True, slots=True)
class Row:
    """A caller: ``NAMESPACE/ACCOUNT``, with its workloads; gateways are those whose clients come from outside."""

    name: str
    workloads: tuple[str, ...] = ()
    gateway: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A service port: ``NAMESPACE/SERVICE:PORT``. `protocol` and the number of workloads behind it."""

    name: str
    protocol: str
    workloads: int


@dataclass(frozen=True, slots=True)
class Cell:
    """An answer that many cells may have: yes, some, no or unconstrained; `only` and `but` say for what, `asks` who is
    asked; `policies` decide."""

    reaches: str
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    policies: tuple[Decider, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    """`cells[row][column]` is the number of an answer in `answers`."""

    callers: tuple[Row, ...]
    targets: tuple[Column, ...]
    answers: tuple[Cell, ...]
    cells: tuple[tuple[int, ...], ...]


def build_matrix(mesh: Mesh, namespaces: Sequence[str] = ()) -> Matrix:
    """Everybody who could call, and every service port, of `namespaces` or of all."""
    rows = _rows(mesh)
    callers = [_caller(mesh, row) for row in rows]
    columns: list[Column] = []
    found: list[list[int]] = []
    answers: dict[Cell, int] = {}
    known: dict[tuple[object, ...], list[int]] = {}
    for column, places in _columns(mesh, namespaces):
        columns.append(column)
        key = tuple(dict.fromkeys(_key(place) for place in places))
        if key not in known:  # ports with the same policies have the same answers
            known[key] = [answers.setdefault(_cell(caller, places), len(answers)) for caller in callers]
        found.append(known[key])
    cells = tuple(tuple(column[index] for column in found) for index in range(len(rows)))
    return Matrix(rows, tuple(columns), tuple(answers), cells)


def _rows(mesh: Mesh) -> tuple[Row, ...]:
    """The service accounts of workloads, by name, and those without a certificate."""
    workloads: dict[str, list[str]] = {}
    gateways = set()
    for one in mesh.workloads:
        name = f"{one.namespace}/{one.service_account}"
        workloads.setdefault(name, []).append(one.name)
        if one.gateway is not None:
            gateways.add(name)
    rows = [Row(name, tuple(sorted(workloads[name])), name in gateways) for name in sorted(workloads)]
    return (*rows, Row(NOBODY))


def _caller(mesh: Mesh, row: Row) -> Caller:
    namespace, _, account = row.name.partition("/")
    return Caller(row.name, SpiffeId(mesh.settings.trust_domain, namespace, account) if account else None)


def _columns(mesh: Mesh, namespaces: Sequence[str]) -> Iterator[tuple[Column, tuple[Place, ...]]]:
    memo = Memo()
    for frontend in mesh.catalog.frontends:
        if (namespaces and frontend.namespace not in namespaces) or not frontend.selector:
            continue
        for port, places in service_places(mesh, frontend, memo):
            name = f"{frontend.namespace}/{frontend.name}:{port.number}"
            count = sum(1 for place in places if not place.described)
            yield Column(name, str(port.protocol), count), places


def _key(place: Place) -> tuple[object, ...]:
    return id(place.access), place.mode, place.protocol is Protocol.TCP, place.protocol is Protocol.AUTO


def _cell(caller: Caller, places: Iterable[Place]) -> Cell:
    found: list[Reach] = []
    for place in {_key(place): place for place in places}.values():
        reach = _reach(caller, place)
        if reach not in found:
            found.append(reach)
    if not found:
        return Cell(str(Reaches.NO))
    if len(found) == 1:
        return _told(found[0])
    worst = min(found, key=lambda one: _RANK.index(one.reaches))
    if worst.reaches is Reaches.NO and any(one.reaches is not Reaches.NO for one in found):
        told = _told(worst)
        return Cell(str(Reaches.SOME), ("some of the workloads behind it",), (), (), told.policies)
    return _told(worst)


def _reach(caller: Caller, place: Place) -> Reach:
    """How far a caller comes at one port; where it may speak HTTP or anything else, as far as with both."""
    if caller.identity is None and place.mode is MutualTlsMode.STRICT:
        return Reach(Reaches.NO)
    principal = "" if place.mode is MutualTlsMode.DISABLE else caller.principal
    kinds = {Protocol.TCP: (False,), Protocol.AUTO: (True, False)}.get(place.protocol, (True,))
    found = [reach_of(place.access, any_call(principal, place.port, http=http)) for http in kinds]
    if len(found) == 2 and found[0].reaches is not found[1].reaches:
        requests, connections = found
        if Reaches.NO in (requests.reaches, connections.reaches):
            only = "requests (HTTP)" if connections.reaches is Reaches.NO else "connections that are no HTTP"
            more = requests if connections.reaches is Reaches.NO else connections
            return Reach(Reaches.SOME, (only, *more.only), more.but, more.asks, (*requests.policies, *more.policies))
        return min(found, key=lambda one: _RANK.index(one.reaches))
    return found[0]


def _told(reach: Reach) -> Cell:
    policies = dict.fromkeys(Decider(object_text(one), str(one.origin)) for one in reach.policies)
    return Cell(str(reach.reaches), reach.only, reach.but, reach.asks, tuple(policies))
