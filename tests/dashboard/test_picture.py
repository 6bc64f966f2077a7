"""The parts of the live picture: what fails now and no longer, findings looked for when something changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.control import Rig
from support.meshdocs import service
from weft.admin.checking import Checking
from weft.admin.dashboard.picture import picture_parts
from weft.admin.graph import Graph
from weft.traffic.edges import ALL, Asked, Edge, NoTraffic, UnknownTrafficError, Window

CALL = Edge("default/page-v1", "", "default/ratings", "default/ratings-v1", 9080, "http", requests=100)
PAIR = "workload default/page-v1 default/ratings"


class Traffic(NoTraffic):
    """The same edge in every window, as tests change it."""

    def __init__(self) -> None:
        super().__init__(lambda: 1000.0)
        self.edge = CALL
        self.error = ""

    async def window(self, seconds: float, asked: Asked = ALL) -> Window:
        if self.error:
            raise UnknownTrafficError(self.error)
        return Window(1000.0 - seconds, 1000.0, (self.edge,))


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def parts_of(rig: Rig, traffic: Traffic, clock: Clock) -> Any:
    context = replace(rig.parts, traffic=traffic, clock=clock)
    return picture_parts(context, Graph(context), Checking(context))


async def test_trouble_is_told_at_once_and_its_end_too(rig: Rig) -> None:
    traffic, clock = Traffic(), Clock()
    trouble = parts_of(rig, traffic, clock)["trouble"]
    assert await trouble() == {}
    traffic.edge = replace(CALL, failures=40, flags=(("FI", 40),))
    assert await trouble() == {PAIR: {"requests": 100, "failed": 40, "faults": 40}}
    traffic.edge = CALL
    clock.now += 5
    assert await trouble() == {PAIR: {"requests": 100, "failed": 0, "faults": 0}}, "it is over, and that is news"
    clock.now += 60
    assert await trouble() == {}


async def test_a_delay_that_a_rule_injects_is_trouble_though_nothing_fails(rig: Rig) -> None:
    traffic = Traffic()
    traffic.edge = replace(CALL, flags=(("DI", 7), ("DI,UT", 1), ("RL", 5)))
    found = await parts_of(rig, traffic, Clock())["trouble"]()
    assert found == {PAIR: {"requests": 100, "failed": 0, "faults": 8}}


async def test_traffic_that_nobody_knows_is_said_and_not_a_fault(rig: Rig) -> None:
    traffic = Traffic()
    traffic.error = "Prometheus does not answer"
    parts = parts_of(rig, traffic, Clock())
    for name in ("graph", "trouble"):
        assert await parts[name]() == {"error": "Prometheus does not answer"}


async def test_findings_are_looked_for_when_something_changed_and_at_times(rig: Rig) -> None:
    clock = Clock()
    findings = parts_of(rig, Traffic(), clock)["findings"]
    first = await findings()
    assert await findings() is first
    clock.now += 20
    second = await findings()
    assert second is not first
    async with rig.session() as session:
        await session.post("/v1/documents", params={"wait": "5"}, data=service("page"))
    assert await findings() is not second
