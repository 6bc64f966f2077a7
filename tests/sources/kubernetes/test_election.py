"""The election of a leader, by values: two candidates, one Lease, and clocks that nobody shares."""

from __future__ import annotations

from dataclasses import replace

from weft.sources.kubernetes.election import Election, Held, Record, Terms, held_from, lease_body

TERMS = Terms(lasting=15, deadline=10.0, retry=2.0)
WALL = 1_700_000_000.0


class Lease:
    """The server: it takes a record only in the place of the version that the candidate knows."""

    def __init__(self) -> None:
        self.held: Held | None = None

    def look(self, candidate: Election, now: float) -> None:
        candidate.saw(self.held, now)

    def bid(self, candidate: Election, now: float, wall: float = WALL) -> bool:
        """Whether the candidate made a bid that the server took."""
        record = candidate.bid(now, wall)
        if record is None:
            return False
        if candidate.version != (self.held.version if self.held else ""):
            candidate.refused()
            return False
        self.write(record)
        assert self.held is not None
        candidate.won(self.held, now)
        return True

    def write(self, record: Record) -> None:
        version = int(self.held.version) + 1 if self.held else 1
        self.held = Held(record, str(version))


def test_a_lease_that_is_not_there_is_made_by_one_of_two() -> None:
    lease, first, second = Lease(), Election("first", TERMS), Election("second", TERMS)
    lease.look(first, 0)
    lease.look(second, 0)
    assert lease.bid(first, 1)
    assert first.leads(1)
    assert not lease.bid(second, 1), "the server refuses a second Lease of that name"
    assert second.stale
    lease.look(second, 2)
    assert not lease.bid(second, 2)
    assert not second.leads(2)
    assert second.holder == "first"


def test_it_leads_until_it_has_not_renewed_for_the_deadline() -> None:
    lease, only = Lease(), Election("only", TERMS)
    lease.look(only, 0)
    assert lease.bid(only, 0, WALL)
    assert only.leads(9.9)
    assert not only.leads(10), "it gives up before another may follow"
    assert lease.bid(only, 9, WALL + 9)
    assert only.leads(18.9)
    assert lease.held is not None
    assert lease.held.record == Record("only", 15, "2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:29.000000Z", 0)


def test_another_follows_when_the_record_has_not_changed_for_as_long_as_it_said() -> None:
    lease, first, second = Lease(), Election("first", TERMS), Election("second", TERMS)
    lease.look(first, 0)
    lease.bid(first, 0)
    lease.look(second, 1000)  # its clock has nothing to do with that of the first
    lease.bid(first, 2, WALL - 86400)  # nor are the times that stand in the record of any meaning
    lease.look(second, 1002)
    assert not lease.bid(second, 1016.9), "it changed at 1002, as far as the second knows"
    lease.look(second, 1016.9)
    assert not lease.bid(second, 1016.9)
    assert lease.bid(second, 1017)
    assert not first.leads(12)
    lease.look(first, 13)
    assert not first.leads(13)
    assert lease.held is not None
    assert lease.held.record.transitions == 1
    assert not lease.bid(first, 14)


def test_a_bid_that_came_too_late_ends_its_term() -> None:
    lease, first = Lease(), Election("first", TERMS)
    lease.look(first, 0)
    lease.bid(first, 0)
    lease.write(Record("second", 15))
    assert not lease.bid(first, 3), "the version is another (409)"
    assert first.leads(3), "it still has the time that it was given"
    lease.look(first, 4)
    assert not first.leads(4)


def test_who_resigns_leaves_the_place_at_once() -> None:
    lease, first, second = Lease(), Election("first", TERMS), Election("second", TERMS)
    lease.look(first, 0)
    lease.bid(first, 0)
    lease.look(second, 3)
    assert second.resigned(WALL) is None, "it is another's"
    first.end()
    record = first.resigned(WALL + 3)
    assert record is not None
    assert record.holder == ""
    assert not first.leads(3)
    lease.write(record)
    lease.look(second, 50)
    assert lease.bid(second, 50)
    assert second.leads(50)


def test_a_lease_that_was_deleted_is_made_again() -> None:
    lease, only = Lease(), Election("only", TERMS)
    lease.look(only, 0)
    lease.bid(only, 0)
    lease.held = None
    assert not lease.bid(only, 2)
    lease.look(only, 3)
    assert not only.leads(3)
    assert lease.bid(only, 3)


def test_a_lease_is_read_as_it_was_written() -> None:
    record = Record("first", 15, "2026-11-28T00:00:00.000000Z", "2026-11-28T00:00:02.000000Z", 3)
    assert held_from(lease_body(record, "weft-system", "weft-leader", "17")) == Held(record, "17")
    free = replace(record, holder="", lasting=1)
    assert held_from(lease_body(free, "weft-system", "weft-leader", "18")) == Held(free, "18")
    assert held_from(b'{"metadata": {"resourceVersion": "1"}, "spec": {}}') == Held(Record("", 0), "1")
