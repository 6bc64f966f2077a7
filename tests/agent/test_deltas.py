"""Deltas and memory: what Envoy counted is told once, whatever restarts, and again to a control plane that lost it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.deltas import Deltas, EdgeCount, EdgeCounts, bounded_edges
from weft.agent.memory import MAX_BYTES, Memory, Piece
from weft.agent.series import Reading
from weft.model.bins import bin_of
from weft.model.report import KEPT_SECONDS, MAX_CELLS, MAX_EDGES, MAX_OUTCOMES, EdgeSum
from weft.model.series import Peer, Series, SeriesKey

REVIEWS = Peer("reviews-v1", "default", "reviews", "v1", "spiffe://cluster.local/ns/default/sa/reviews")
KEY = SeriesKey("source", "http", "reviews.default.svc.cluster.local", 9080, peer=REVIEWS, code=200)


def series(count: int, key: SeriesKey = KEY) -> Series:
    """`count` requests of 5 ms with 100 bytes and 1000 back."""
    return Series(key, count, ((5.0, 0.1, count),), ((100.0, 10.0, count),), ((1000.0, 100.0, count),))


def reading(*some: Series, extra: int = 0) -> Reading:
    return Reading(some, {"source": sum(one.count for one in some if one.key.protocol != "tcp") + extra}, {})


def test_only_what_is_new_is_told() -> None:
    deltas = Deltas()
    first = deltas.since_last("1", reading(series(3)))
    assert [count.outcomes for count in first.edges.values()] == [{(200, "-", ""): 3}]
    again = deltas.since_last("1", reading(series(3)))
    assert again.edges == {}
    (more,) = deltas.since_last("1", reading(series(5))).edges.values()
    assert more.outcomes == {(200, "-", ""): 2}
    assert more.bins == {bin_of(5.05): 2}
    assert (more.sent, more.received) == (2100, 210)


def test_statuses_of_one_edge_are_one_sum() -> None:
    failed = replace(KEY, code=503, flags="UC")
    (edge,) = Deltas().since_last("1", reading(series(3), series(2, failed))).edges.values()
    assert edge.outcomes == {(200, "-", ""): 3, (503, "UC", ""): 2}


def test_a_series_that_has_counted_nothing_yet_is_no_news() -> None:
    assert Deltas().since_last("1", reading(series(0))).edges == {}


def test_an_envoy_that_begins_anew_counts_from_nothing() -> None:
    deltas = Deltas()
    deltas.since_last("1", reading(series(100)))
    (edge,) = deltas.since_last("2", reading(series(120))).edges.values()
    assert edge.requests == 120


def test_a_series_that_envoy_forgot_counts_from_nothing() -> None:
    deltas = Deltas()
    deltas.since_last("1", reading(series(100)))
    deltas.since_last("1", reading())
    (edge,) = deltas.since_last("1", reading(series(2))).edges.values()
    assert edge.requests == 2
    (edge,) = deltas.since_last("1", reading(series(1))).edges.values()
    assert edge.requests == 1


def test_an_adopted_envoy_is_not_told_again() -> None:
    deltas = Deltas()
    assert deltas.adopt("1", reading(series(100))) == 100
    assert deltas.since_last("1", reading(series(100))).edges == {}
    (edge,) = deltas.since_last("1", reading(series(101))).edges.values()
    assert edge.requests == 1


def test_what_the_callers_proxy_tells_as_well_is_no_loss() -> None:
    callee = replace(KEY, reporter="destination")
    seen = Reading(
        (series(3), series(20, callee), series(5, replace(callee, peer=None))), {"source": 4, "destination": 25}, {}
    )
    assert Deltas().adopt("1", seen) == 4 + 5
    assert Deltas().since_last("1", seen).total == 4 + 5


def test_requests_that_have_no_series_are_counted() -> None:
    deltas = Deltas()
    assert deltas.since_last("1", reading(series(3), extra=4)).left_out == 4
    assert deltas.since_last("1", reading(series(4), extra=4)).left_out == 0
    assert deltas.since_last("1", reading(series(4), extra=9)).left_out == 5


@pytest.mark.parametrize(
    ("key", "mtls"),
    [
        (KEY, True),
        (replace(KEY, peer=None), False),
        (replace(KEY, peer=None, code=503, flags="UH"), None),
        (replace(KEY, peer=None, code=503, flags="UF,URX"), None),
        (replace(KEY, peer=None, flags="DI"), False),
        (replace(KEY, peer=None, code=404, forwarded=False), None),
        (replace(KEY, peer=None, code=0, flags="DC"), None),
        (replace(KEY, peer=None, code=504, flags="UT"), None),
        (replace(KEY, reporter="destination", peer=None, forwarded=False, code=503, flags="UF"), False),
    ],
)
def test_only_what_a_server_without_a_certificate_answered_was_in_plaintext(key: SeriesKey, mtls: bool | None) -> None:
    told, _ = bounded_edges(Deltas().since_last("1", reading(series(1, key))).edges)
    assert told[0].mtls is mtls


def test_connections_are_counted_with_their_bytes() -> None:
    key = SeriesKey("source", "tcp", "db.default.svc.cluster.local", 5432, peer=REVIEWS)
    deltas = Deltas()
    deltas.since_last("1", reading(Series(key, 2, opened=2, closed=1, received_bytes=10, sent_bytes=20)))
    found = deltas.since_last("1", reading(Series(key, 3, opened=3, closed=3, received_bytes=15, sent_bytes=120)))
    (edge,) = found.edges.values()
    assert (edge.opened, edge.closed, edge.received, edge.sent, edge.outcomes) == (1, 2, 5, 100, {})
    assert found.left_out == 0


def test_too_many_edges_and_statuses_are_folded_and_counted() -> None:
    edges: EdgeCounts = {}
    for number in range(MAX_EDGES + 7):
        count = EdgeCount()
        count.outcomes = (
            {(200 + status % 400, "-", ""): 1 for status in range(300)} if number == 0 else {(200, "-", ""): 1}
        )
        edges["source", "http", f"s{number}", 80, "", "", True, ""] = count
    told, left_out = bounded_edges(edges)
    assert len(told) == MAX_EDGES
    assert left_out == 7
    assert len(told[0].outcomes) <= MAX_OUTCOMES
    assert sum(count for *_, count in told[0].outcomes) == 300


def counts(requests: int, service: str = "s") -> EdgeCounts:
    count = EdgeCount()
    count.outcomes = {(200, "-", ""): requests}
    count.bins = {bin_of(5): requests}
    return {("source", "http", service, 80, "", "", True, ""): count}


def total(pieces: list[Piece]) -> int:
    return sum(count for piece in pieces for edge in piece.edges for *_, count in edge.outcomes)


def test_what_was_told_is_not_told_again_but_to_another_control_plane() -> None:
    memory = Memory()
    memory.add(counts(3), 0.0, 2.0)
    assert total(memory.take(2.0, 1000)) == 3
    memory.told("a", 2.0)
    assert memory.take(3.0, 1000) == []
    memory.add(counts(4), 12.0, 14.0)
    assert total(memory.take(14.0, 1000)) == 4
    memory.told("b", 14.0)
    assert total(memory.take(15.0, 1000)) == 3
    memory.told("b", 15.0)
    assert memory.take(16.0, 1000) == []


def test_a_report_whose_answer_is_lost_is_sent_again_unchanged() -> None:
    memory = Memory()
    memory.add(counts(3), 0.0, 2.0)
    first = list(memory.take(2.0, 1000))
    memory.add(counts(4), 2.0, 4.0)
    assert memory.in_flight
    assert memory.take(4.0, 1000) == first
    memory.told("a", 4.0)
    assert total(memory.take(6.0, 1000)) == 4


def test_two_seconds_become_ten_once_they_are_told() -> None:
    memory = Memory()
    for number in range(60):
        now = 2.0 * number + 1
        memory.add(counts(1), now - 1, now)
        memory.take(now, 1000)
        memory.told("a", now)
    again = _all_again(memory, 200.0)
    assert total(again) == 60
    assert len(again) == 11 + 5  # the last ten seconds were not over when the last report came


def _all_again(memory: Memory, now: float, room: int = 10_000_000) -> list[Piece]:
    """Everything that another control plane is told."""
    found = list(memory.take(now, room))
    memory.told("another", now)
    while memory.has_news:
        found += memory.take(now, room)
        memory.told("another", now)
    return found


def test_an_hour_is_kept_and_nothing_older() -> None:
    memory = Memory()
    for number in range(500):
        now = 10.0 * number + 5
        memory.add(counts(1), now - 2, now)
        memory.take(now, 1000)
        memory.told("a", now)
        memory.forget(now)
    assert abs(total(_all_again(memory, 4995.0)) - KEPT_SECONDS // 10) <= 1
    assert memory.left_out == 0


def test_a_control_plane_that_is_away_for_long_costs_no_more_than_an_hour_and_what_is_lost_is_counted() -> None:
    memory = Memory()
    for number in range(1000):
        now = 10.0 * number + 5
        memory.add(counts(1), now - 2, now)
        memory.forget(now)
    assert memory.left_out >= 600
    pieces = _all_again(memory, 9995.0)
    assert total(pieces) + memory.left_out == 1000


def test_memory_stays_within_its_bound() -> None:
    memory, chance = Memory(), random.Random(1)
    for number in range(360):
        now = 10.0 * number + 5
        for edge in range(60):
            one = counts(chance.randrange(1, 100), f"service-{edge}.default.svc.cluster.local")
            next(iter(one.values())).bins = {chance.randrange(200): 1 for _ in range(30)}
            memory.add(one, now - 2, now)
        if number % 2:
            memory.take(now, 1000)
            memory.told("a", now)
        memory.forget(now)
        assert memory.size <= MAX_BYTES + 200_000


def test_a_large_history_goes_in_parts_the_newest_first() -> None:
    memory = Memory()
    for number in range(200):
        memory.add(counts(1), 10.0 * number, 10.0 * number + 5)
        memory.take(10.0 * number + 5, 1000)
        memory.told("a", 10.0 * number + 5)
    memory.add(counts(1), 2000.0, 2005.0)
    memory.take(2005.0, 1000)
    memory.told("b", 2005.0)
    parts = []
    while memory.has_news:
        parts.append(list(memory.take(2006.0, 2000)))
        memory.told("b", 2006.0)
    assert len(parts) > 5
    assert max(map(len, parts)) < MAX_CELLS
    middles = [piece.middle for part in parts for piece in part]
    assert middles == sorted(middles, reverse=True)
    assert total([piece for part in parts for piece in part]) == 200


def test_what_is_refused_is_counted_and_not_sent_for_ever() -> None:
    memory = Memory()
    memory.add(counts(3), 0.0, 2.0)
    memory.take(2.0, 1000)
    memory.refused()
    assert not memory.has_news
    assert memory.left_out == 3


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "lost", "a", "b", "c"])), min_size=1, max_size=60),
    st.integers(100, 5000),
)
def test_the_last_control_plane_knows_everything_once(steps: list[tuple[int, str]], room: int) -> None:
    """Answers are lost, control planes come and go: the one at the end has it all."""
    memory, everything, now = Memory(), 0, 0.0
    for requests, outcome in [*steps, (1, "end")]:
        memory.add(counts(requests), now, now + 2)
        now, everything = now + 2, everything + requests
        pieces = list(memory.take(now, room)) if outcome else []
        if pieces and outcome != "lost":
            memory.told(outcome, now)
    received = total(pieces)
    while memory.has_news:
        received += total(list(memory.take(now, room)))
        memory.told("end", now)
    assert received == everything


def test_a_piece_is_what_a_report_says() -> None:
    memory = Memory()
    memory.add(counts(3), 1.0, 3.0)
    (piece,) = memory.take(3.0, 1000)
    cell = piece.cell(7.0)
    assert cell.age == 5.0
    assert cell.edges == (
        EdgeSum("source", "http", "s", 80, "", "", True, "", ((200, "-", "", 3),), ((bin_of(5), 3),)),
    )
