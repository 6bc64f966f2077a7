"""The table in states.py is what the code does: every cell, with everything a client may hold and should hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support.discovery import layer, resource
from weft.discovery import states
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.states import ABSENT, NEVER_HELD, ON_THE_WAY, UNKNOWN, Record, State, at_rest, same
from weft.xds.snapshot import CLUSTER, ENDPOINTS, Resource, XdsSnapshot

V1, V2 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2")
EVENTS = ("news", "sent", "accepted", "refused", "returned", "repeat")


def table() -> Iterator[tuple[State, str, str]]:
    rows = [line.split() for line in (states.__doc__ or "").splitlines() if line.split("  ")[0] in State.__members__]
    for row in rows:
        for event, cell in zip(EVENTS, row[-len(EVENTS) :], strict=True):
            yield State[row[0]], event, cell


def situations(state: State) -> Iterator[tuple[Record, Resource | None, Resource | None]]:
    """A record in that state, what its client should hold, and what the response on the way says."""
    for version, target, carried in itertools.product((ABSENT, UNKNOWN, "1"), (None, V1, V2), (None, V1, V2)):
        on_the_way = state in ON_THE_WAY
        possible = {
            State.SENT: same(carried, target),
            State.OVERTAKEN: not same(carried, target),
            State.REFUSED: target is not None and target.version != version,
            State.REPEAT: target is not None and target.version == version,
        }
        if possible.get(state, at_rest(version, target) is state) and (on_the_way or carried is None):
            yield Record(state, version, V1 if version == "1" else None, 3, 4), target, carried


def expected(cell: str, record: Record, target: Resource | None, carried: Resource | None) -> State:
    rest = at_rest(record.version, target)
    if cell == "rest":
        return rest
    if cell == "flight":
        return State.SENT if same(carried, target) else State.OVERTAKEN
    if cell == "again":
        if target is None:
            return State.MISSING if record.version in NEVER_HELD else State.LEAVING
        return State.MISSING if record.version in NEVER_HELD else State.REPEAT
    return State[cell]


def test_the_table_has_every_state_and_event() -> None:
    cells = list(table())
    assert {state for state, _, _ in cells} == set(State)
    assert len(cells) == len(State) * len(EVENTS)


@pytest.mark.parametrize(("state", "event", "cell"), [row for row in table() if row[2] != "."])
def test_cell(state: State, event: str, cell: str) -> None:
    seen = 0
    for record, target, carried in situations(state):
        for newer in (None, V1, V2) if event == "news" else (target,):
            mine = Record(record.state, record.version, record.content, record.first, record.last)
            if event == "news":
                mine.news(newer, carried, 7)
            elif event == "accepted":
                mine.accepted(carried, newer)
            elif event == "refused":
                mine.refused(newer)
            elif event == "returned":
                mine.returned(carried, newer)
            elif event == "repeat":
                mine.repeat(newer)
            else:
                mine.sent()
            assert mine.state is expected(cell, mine, newer, carried), (record, newer, carried)
            seen += 1
    assert seen, "no situation of that kind"


def test_revisions_of_what_the_client_has_not_answered() -> None:
    record = Record(State.CHANGED, "1", V1, 3, 4)
    record.sent()
    record.news(V1, V2, 7)
    record.news(V1, V2, 8)
    assert (record.state, record.first, record.last) == (State.OVERTAKEN, 3, 8)
    record.accepted(V2, V1)
    assert (record.state, record.first, record.version) == (State.CHANGED, 7, "2"), "the answer covers up to 6"


def test_a_session_goes_through_the_states() -> None:
    machine = DeltaSession(XdsSnapshot(1, ()), Shared(), Limits())
    machine.receive(DeltaRequest(ENDPOINTS, ("a",)))
    mine = machine.subscriptions[ENDPOINTS]

    def offer(revision: int, *versions: str) -> State:
        machine.offer(XdsSnapshot(revision, (layer(*(resource(ENDPOINTS, "a", one) for one in versions)),)))
        return mine.state("a")

    def send() -> State:
        assert machine.next() is not None
        return mine.state("a")

    def answer(error: str | None = None) -> State:
        machine.receive(DeltaRequest(ENDPOINTS, nonce=mine.nonce, error=error))
        return mine.state("a")

    assert [mine.state("a"), send(), answer()] == [State.MISSING, State.SENT, State.HELD], "it does not exist"
    assert [offer(2, "1"), send(), answer()] == [State.MISSING, State.SENT, State.HELD]
    assert [offer(3, "2"), offer(4, "1")] == [State.CHANGED, State.HELD]
    assert [offer(5, "2"), send(), offer(6, "3"), answer()] == [
        State.CHANGED,
        State.SENT,
        State.OVERTAKEN,
        State.CHANGED,
    ]
    assert [send(), answer("a: no"), offer(7, "3"), offer(8, "2")] == [
        State.SENT,
        State.REFUSED,
        State.REFUSED,
        State.HELD,
    ]
    assert offer(9) is State.LEAVING


def test_a_large_load_keeps_no_record_of_its_own() -> None:
    shared = Shared()
    count = Limits().batch
    everything = layer(*(resource(CLUSTER, f"c{number}", "1") for number in range(count)))
    machines = [DeltaSession(XdsSnapshot(1, (everything,)), shared, Limits()) for _ in range(2)]
    bodies = []
    for machine in machines:
        machine.receive(DeltaRequest(CLUSTER))
        mine = machine.subscriptions[CLUSTER]
        assert (mine.state("c3"), mine.outstanding, mine.records) == (State.MISSING, count, {})
        out = machine.next()
        assert out is not None
        bodies.append(out.body)
        assert (mine.state("c3"), mine.outstanding, mine.records) == (State.SENT, count, {})
    assert machines[0].subscriptions[CLUSTER].flight is not None
    first, second = (machine.subscriptions[CLUSTER].flight for machine in machines)
    assert first is not None and second is not None
    assert first.batches[0] is second.batches[0]
    assert bodies[0] == bodies[1]
    for machine in machines:
        machine.receive(DeltaRequest(CLUSTER, nonce=machine.subscriptions[CLUSTER].nonce))
        assert machine.subscriptions[CLUSTER].state("c3") is State.HELD


def test_streams_that_load_alike_are_sent_the_same_bytes() -> None:
    shared = Shared()
    everything = layer(*(resource(CLUSTER, f"c{number}", "1", body=b"x" * 2000) for number in range(100)))
    own = [layer(resource(CLUSTER, f"own-{number}", "1")) for number in range(2)]
    sent = []
    for number in range(2):
        machine = DeltaSession(XdsSnapshot(1, (everything, own[number])), shared, Limits())
        machine.receive(DeltaRequest(CLUSTER))
        out = machine.next()
        assert out is not None
        sent.append(out.body)
    assert sent[0] is sent[1]
