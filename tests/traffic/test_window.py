"""The window: each call once whoever tells of it, nothing lost or doubled, bounded whoever lies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.aio import turns
from weft.model.bins import bin_of, bounds_of
from weft.model.report import KEPT_SECONDS, Cell, EdgeSum, Report
from weft.traffic.edges import ALL, Asked
from weft.traffic.keeper import WAITING, WAITING_OF_ONE, WAITING_SUMS, TrafficKeeper
from weft.traffic.latency import percentile
from weft.traffic.names import Teller, edge_name, service_name
from weft.traffic.window import Window, WindowLimits

PAGE = Teller("default/productpage-v1", "default/productpage")
REVIEWS = Teller("default/reviews-v1", "default/reviews")
START = 500_000.0


def told(**changes: Any) -> EdgeSum:
    """What the page's agent tells of ten calls of reviews."""
    usual: dict[str, Any] = {
        "reporter": "source",
        "protocol": "http",
        "service": "reviews.default.svc.cluster.local",
        "port": 9080,
        "peer": REVIEWS.workload,
        "peer_service": REVIEWS.service,
        "mtls": True,
        "route": "",
        "outcomes": ((200, "-", "", 10),),
        "bins": ((bin_of(5), 10),),
        "sent": 1000,
        "received": 100,
    }
    return EdgeSum(**(usual | changes))


def heard(**changes: Any) -> EdgeSum:
    """What the agent of reviews tells of the same."""
    usual: dict[str, Any] = {"reporter": "destination", "peer": PAGE.workload, "peer_service": PAGE.service}
    return told(**(usual | changes))


def report(sequence: int, *cells: tuple[float, EdgeSum], **changes: Any) -> Report:
    return Report("one", sequence, tuple(Cell(age, (edge,)) for age, edge in cells), **changes)


def drain(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def requests_of(window: Window, since: int = 0, asked: Asked = ALL) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = {}
    for row in window.totals(since, asked):
        if row is not None:
            name, tally, _ = row
            key = (name.source, name.destination, name.destination_workload)
            found[key] = found.get(key, 0) + tally.requests
    return found


CALL = (PAGE.workload, "default/reviews", REVIEWS.workload)


@pytest.mark.parametrize("first", [PAGE, REVIEWS])
def test_both_sides_tell_of_a_call_and_it_counts_once(first: Teller) -> None:
    window, second = Window(START), REVIEWS if first is PAGE else PAGE
    for teller in (first, second):
        window.add(teller, report(1, (1.0, told() if teller is PAGE else heard())), START + 5)
    assert requests_of(window) == {CALL: 10}
    drain(window.advance(START + 100))
    assert requests_of(window) == {CALL: 10}


def test_the_callee_alone_counts_where_no_caller_tells() -> None:
    window = Window(START)
    window.add(REVIEWS, report(1, (1.0, heard())), START + 5)
    window.add(REVIEWS, report(2, (1.0, heard(peer="", peer_service="", mtls=False))), START + 6)
    drain(window.advance(START + 100))
    assert requests_of(window) == {CALL: 10, ("", "default/reviews", REVIEWS.workload): 10}


def test_a_caller_that_has_stopped_telling_leaves_the_word_to_the_callee() -> None:
    window = Window(START)
    window.add(PAGE, report(1, (1.0, told())), START + 5)
    window.add(REVIEWS, report(1, (1.0, heard())), START + 65)
    drain(window.advance(START + 200))
    assert requests_of(window) == {CALL: 20}


def test_a_report_that_comes_twice_counts_once() -> None:
    window = Window(START)
    assert window.add(PAGE, report(1, (1.0, told())), START + 5)
    assert not window.add(PAGE, report(1, (1.0, told())), START + 6)
    assert window.add(PAGE, report(2, (1.0, told())), START + 7)
    assert requests_of(window) == {CALL: 20}
    assert window.add(PAGE, Report("another", 1, (Cell(0.0, (told(),)),)), START + 8)
    assert requests_of(window) == {CALL: 30}


def test_what_happened_before_the_control_plane_began_is_filed_where_it_was() -> None:
    window = Window(START)
    ages = [30.0 * number + 5 for number in range(KEPT_SECONDS // 30)]
    window.add(PAGE, report(1, *((age, told()) for age in ages)), START + 5)
    drain(window.advance(START + 6))
    assert requests_of(window, window.since(3600, START + 6)) == {CALL: 10 * len(ages)}
    half = requests_of(window, window.since(1800, START + 6))[CALL]
    assert abs(half - 5 * len(ages)) <= 60


def test_of_its_past_the_callee_tells_only_what_no_caller_can() -> None:
    window = Window(START)
    window.add(REVIEWS, report(1, (600.0, heard()), (600.0, heard(peer="", peer_service="", mtls=False))), START + 5)
    assert requests_of(window) == {("", "default/reviews", REVIEWS.workload): 10}


@given(
    st.lists(
        st.tuples(st.floats(0, 3000), st.floats(0, 3600), st.integers(1, 20), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=40)
def test_nothing_is_lost_whenever_it_comes_and_however_old_it_is(adds: list[tuple[float, float, int, int]]) -> None:
    window, now = Window(START), START
    for sequence, (later, age, count, number) in enumerate(adds, 1):
        now += later
        edge = told(outcomes=((200, "-", "", count),), route=f"VirtualService default/r{number}")
        window.add(PAGE, report(sequence, (age, edge)), now)
        drain(window.advance(now))
    if now - START < 80_000:
        assert sum(requests_of(window).values()) == sum(count for _, _, count, _ in adds)


@given(st.lists(st.lists(st.floats(0, 50_000), min_size=1, max_size=30), min_size=1, max_size=8), st.integers(0, 2**16))
def test_a_percentile_of_merged_sketches_is_in_the_bin_of_the_true_one(parts: list[list[float]], seed: int) -> None:
    window, order = Window(START), random.Random(seed)
    order.shuffle(parts)
    for sequence, values in enumerate(parts, 1):
        bins: dict[int, int] = {}
        for value in values:
            bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
        edge = told(outcomes=((200, "-", "", len(values)),), bins=tuple(bins.items()))
        window.add(PAGE, report(sequence, (1.0, edge)), START + 20 * sequence)
        drain(window.advance(START + 20 * sequence))
    row = next(row for row in window.totals(0) if row is not None)
    found = tuple((*bounds_of(number), count) for number, count in sorted(row[1].bins.items()))
    everything = sorted(value for values in parts for value in values)
    for share in (0.5, 0.95, 0.99):
        true = everything[max(0, -int(-share * len(everything) // 1) - 1)]
        lower, width = bounds_of(bin_of(true))
        estimate = percentile(found, share)
        assert estimate is not None
        assert lower <= estimate <= lower + width


def test_an_edge_more_than_allowed_of_one_is_counted_and_harms_nobody_else() -> None:
    window = Window(START, WindowLimits(edges_of_one=3))
    for number in range(10):
        edge = told(service=f"s{number}.default.svc.cluster.local")
        window.add(PAGE, report(number + 1, (1.0, edge)), START + 1)
    window.add(REVIEWS, report(1, (1.0, told(peer="default/ratings", peer_service="default/ratings"))), START + 1)
    drain(window.advance(START + 100))
    assert window.edges == 4
    assert window.dropped(0) == 70
    assert (REVIEWS.workload, "default/reviews", "default/ratings") in requests_of(window)


def test_what_is_not_filed_yet_is_bounded_too() -> None:
    """An agent that makes up new names with each report, and new ways to fail with each of them."""
    window = Window(START, WindowLimits(edges_of_one=50))
    for number in range(300):
        edge = told(peer=f"default/made-up-{number}", outcomes=((200, "-", "", 1),))
        window.add(PAGE, report(number + 1, (1.0, edge)), START + 1)
    assert len(requests_of(window)) == 50
    assert window.dropped(0) == 250
    for number in range(1000):
        edge = heard(outcomes=((number % 1000, "-", str(number % 90), 1),))
        window.add(REVIEWS, report(number + 1, (1.0, edge)), START + 1)
    drain(window.advance(START + 100))
    (edges,) = [
        tally for name, tally, _ in filter(None, window.totals(0)) if name.destination_workload == "default/reviews-v1"
    ]
    assert len(edges.outcomes) < 80
    assert edges.requests == 1000
    assert edges.failures > 500, "what is not told apart any more has still failed"
    assert window.size < 60 * 1200


def test_a_caller_can_silence_so_many_callees_and_no_more() -> None:
    window = Window(START, WindowLimits(edges_of_one=5))
    for number in range(300):
        edge = told(peer=f"default/made-up-{number}")
        window.add(PAGE, report(number + 1, (120.0, edge)), START + 1)
    assert sum(map(len, window._told.values())) == 5


def test_a_liar_fills_nobody_elses_room() -> None:
    window = Window(START, WindowLimits(edges_of_one=3))
    for number in range(10):
        edge = told(reporter="destination", peer=PAGE.workload, peer_service=f"default/made-up-{number}")
        window.add(REVIEWS, report(number + 1, (1.0, edge)), START + 1)
    drain(window.advance(START + 50))
    window.add(PAGE, report(1, (1.0, told(peer="default/other", peer_service="default/other"))), START + 51)
    drain(window.advance(START + 150))
    assert requests_of(window)[PAGE.workload, "default/reviews", "default/other"] == 10


def test_the_quietest_edges_make_room_and_are_counted() -> None:
    window = Window(START, WindowLimits(size=20_000, edges_of_one=1000))
    for number in range(60):
        edge = told(service=f"s{number}.default.svc.cluster.local")
        window.add(PAGE, report(number + 1, (1.0, edge)), START + 20 * number)
        drain(window.advance(START + 20 * number))
    drain(window.advance(START + 20 * 62))
    assert window.size <= 20_000
    kept = {destination for _, destination, _ in requests_of(window)}
    assert "default/s59" in kept
    assert "default/s0" not in kept
    assert window.dropped(0) + sum(requests_of(window).values()) == 600


def test_who_takes_more_than_a_share_makes_room_for_those_who_take_less() -> None:
    window = Window(START, WindowLimits(size=64_000, edges_of_one=1000))
    window.add(REVIEWS, report(1, (1.0, told(peer="default/ratings-v1"))), START + 1)
    drain(window.advance(START + 50))
    for number in range(100):  # all of them newer than the edge of reviews
        edge = told(service=f"s{number}.default.svc.cluster.local")
        window.add(PAGE, report(number + 1, (1.0, edge)), START + 60)
    drain(window.advance(START + 150))
    assert window.size <= 64_000
    assert (REVIEWS.workload, "default/reviews", "default/ratings-v1") in requests_of(window)


def test_what_an_earlier_agent_did_not_tell_is_known() -> None:
    window = Window(START)
    window.add(PAGE, Report("old", 1, (Cell(1, (told(),)),), proxy="7:1", begun=0, total=10), START + 1)
    window.add(PAGE, Report("new", 1, (), proxy="7:1", begun=14, total=14), START + 5)
    assert window.dropped(0) == 4
    window.add(PAGE, Report("newer", 1, (), proxy="8:1", begun=3, total=3, left_out=2), START + 6)
    assert window.dropped(0) == 6


def test_a_teller_is_who_its_certificate_says() -> None:
    name = edge_name(PAGE, told(peer="other/liar", peer_service="other/liar"))
    assert (name.source, name.destination_workload) == (PAGE.workload, "other/liar")
    name = edge_name(REVIEWS, heard(service=""))
    assert (name.source, name.destination, name.destination_workload) == CALL


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("reviews.default.svc.cluster.local", "default/reviews"),
        ("example.com", "example.com"),
        ("", ""),
        ("a.b.c.svc.cluster.local", "a.b.c.svc.cluster.local"),
    ],
)
def test_services_are_named_with_their_namespace(host: str, name: str) -> None:
    assert service_name(host) == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"service": "x\n[31m.example"},
        {"service": "a" * 300},
        {"peer": "default/<script>"},
        {"route": "VirtualService default/a|b"},
        {"port": 65536},
        {"outcomes": ((-1, "-", "", 1),)},
        {"outcomes": ((200, "lower", "", 1),)},
        {"outcomes": ((200, "-", "", -5),)},
        {"bins": ((1_000_000, 1),)},
        {"sent": 1 << 60},
        {"reporter": "both"},
        {"protocol": "quic"},
        {"service": "reviews\n"},
        {"peer": "default/reviews-v1\n"},
        {"peer_service": "default/reviews\n"},
        {"route": "VirtualService default/a\n"},
        {"outcomes": ((200, "-\n", "", 1),)},
        {"outcomes": ((200, "-", "\n", 1),)},
    ],
    ids=str,
)
def test_what_is_no_name_or_number_is_not_decoded(wrong: dict[str, Any]) -> None:
    good = msgspec.json.encode(report(1, (1.0, told())))
    assert msgspec.json.decode(good, type=Report) == report(1, (1.0, told()))
    bad = msgspec.json.encode(report(1, (1.0, told(**wrong))))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(bad, type=Report)


class Clock:
    """Two clocks: a monotonic one, and one on the wall that may jump."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000.0

    def forward(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


def keeper_at(clock: Clock, tellers: int = 1) -> TrafficKeeper:
    return TrafficKeeper(lambda: tellers, clock=lambda: clock.now, wall=lambda: clock.wall)


async def test_the_keeper_answers_with_edges_and_says_from_when_on() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    answer = keeper.submit(PAGE, report(1, (1.0, told(outcomes=((200, "-", "", 9), (503, "UF,URX", "", 1))))))
    assert not answer.again
    assert answer.interval == 2.0
    clock.forward(5)
    await keeper.take()
    window = await keeper.window(60)
    (edge,) = window.edges
    assert (edge.requests, edge.failures, edge.codes) == (10, 1, (("200", 9), ("503", 1)))
    assert edge.flags == (("UF", 1), ("URX", 1))
    assert (edge.bytes_sent, edge.bytes_received) == (100, 1000)
    assert 60 <= window.seconds < 70
    assert not window.complete
    assert window.known_since == clock.wall - 5
    clock.forward(300)
    await keeper.take()
    assert (await keeper.window(60)).complete
    assert (await keeper.window(60)).edges == ()
    assert (await keeper.window(3600)).edges[0].requests == 10
    assert not (await keeper.window(7200)).complete


async def test_rules_are_told_apart_when_asked() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    keeper.submit(PAGE, report(1, (1.0, told(route="HTTPRoute default/a"))))
    keeper.submit(PAGE, report(2, (1.0, told(route="HTTPRoute default/b"))))
    await keeper.take()
    assert [edge.requests for edge in (await keeper.window(60)).edges] == [20]
    by_route = (await keeper.window(60, Asked(by_route=True))).edges
    assert {edge.route: edge.requests for edge in by_route} == {"HTTPRoute default/a": 10, "HTTPRoute default/b": 10}
    assert (await keeper.window(60, Asked(source="default/nobody"))).edges == ()
    assert len((await keeper.window(60, Asked(workload=REVIEWS.workload))).edges) == 1


async def test_a_series_has_every_request_at_its_time_and_points_without_any() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    for sequence in range(1, 361):
        clock.forward(10)
        if sequence % 2:
            keeper.submit(PAGE, report(sequence, (1.0, told())))
        await keeper.take()
    clock.forward(40)
    await keeper.take()
    for step in (10, 60, 600):
        points = await keeper.series(3700, step)
        assert sum(point.requests for point in points) == 1800
        assert abs(sum(point.bytes_received for point in points) - 180_000) <= len(points)
        assert {later.time - point.time for point, later in pairwise(points)} == {float(step)}
    assert {point.requests for point in await keeper.series(3700, 10)} == {0, 10}


async def test_a_clock_on_the_wall_that_jumps_moves_no_cell() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    keeper.submit(PAGE, report(1, (1.0, told())))
    await keeper.take()
    clock.wall -= 86400
    clock.forward(20)
    await keeper.take()
    window = await keeper.window(60)
    assert [edge.requests for edge in window.edges] == [10]
    assert window.until == clock.wall


async def test_the_more_tell_the_more_seldom_each_does() -> None:
    clock = Clock()
    assert keeper_at(clock, 2000).submit(PAGE, report(1)).interval == 10.0


async def test_with_too_many_waiting_a_report_is_asked_for_again() -> None:
    keeper = keeper_at(Clock())
    tellers = [Teller(f"default/w{number}", "default/w") for number in range(WAITING + 1)]
    answers = [keeper.submit(teller, report(1)) for teller in tellers]
    assert [answer.again for answer in answers[-2:]] == [False, True]
    await keeper.take()
    assert not keeper.submit(PAGE, report(WAITING + 2)).again


async def test_one_that_floods_keeps_nobody_else_out() -> None:
    keeper = keeper_at(Clock())
    answers = [keeper.submit(PAGE, report(number)).again for number in range(1, 8)]
    assert answers == [False] * WAITING_OF_ONE + [True] * 3
    assert not keeper.submit(REVIEWS, report(1)).again
    await keeper.take()
    assert not keeper.submit(PAGE, report(9)).again


async def test_large_reports_do_not_pile_up() -> None:
    keeper = keeper_at(Clock())
    large = Report("one", 1, (Cell(1.0, (told(),) * 500),) * 20)
    answers = [keeper.submit(Teller(f"default/w{number}", "default/w"), large).again for number in range(8)]
    assert answers == [False] * (WAITING_SUMS // 10_000) + [True] * 3
    await keeper.take()
    assert not keeper.submit(PAGE, large).again


async def test_who_reports_too_often_is_turned_away_and_nobody_else() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    answers = [keeper.turn_away(PAGE) for _ in range(20)]
    assert answers[:8] == [None] * 8
    assert all(answer is not None and answer.again for answer in answers[8:])
    assert keeper.turn_away(REVIEWS) is None
    for _ in range(100):
        clock.forward(2)
        assert keeper.turn_away(PAGE) is None


async def test_a_fault_of_the_window_ends_neither_it_nor_the_control_plane(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, add = keeper_at(Clock()), Window.add
    broken = report(1, (1.0, told()))

    def failing(self: Window, teller: Teller, told_now: Report, now: float) -> bool:
        if told_now is broken:
            raise ValueError("made up")
        return add(self, teller, told_now, now)

    monkeypatch.setattr(Window, "add", failing)
    task = asyncio.create_task(keeper.run())
    keeper.submit(REVIEWS, broken)
    keeper.submit(PAGE, report(1, (1.0, told())))
    async with asyncio.timeout(60):
        await keeper.changed(0)
    assert not task.done()
    assert len((await keeper.window(60)).edges) == 1
    assert [record.message for record in caplog.records] == ["the window of traffic: a fault, said once"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_waits_for_news_is_woken_once_it_is_there() -> None:
    keeper = keeper_at(Clock())
    keeper.submit(PAGE, report(1, (1.0, told())))
    await keeper.take()
    assert await keeper.changed(0) == 1


async def test_questions_and_reports_give_way_to_each_other() -> None:
    clock = Clock()
    keeper = keeper_at(clock)
    done = asyncio.Event()

    async def report_on() -> None:
        for sequence in range(1, 400):
            clock.forward(3)
            keeper.submit(PAGE, report(sequence, (1.0, told(service=f"s{sequence % 40}.default.svc.cluster.local"))))
            await keeper.take()
            await asyncio.sleep(0)
        done.set()

    async def ask_on() -> None:
        while not done.is_set():
            await keeper.window(600)
            await keeper.series(3600, 60)
            await asyncio.sleep(0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(turns, "TURN_SECONDS", 0.0)
        await asyncio.gather(report_on(), ask_on(), ask_on())
    assert sum(edge.requests for edge in (await keeper.window(3600)).edges) == 3990
