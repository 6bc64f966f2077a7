"""Telling of traffic: a real control plane's API, and an Envoy whose answers the test writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.control import Rig, running_control
from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient, UnreachableError
from weft.agent.parameters import ControlPlane
from weft.agent.series import SERIES_QUERY
from weft.agent.traffic import TrafficTeller
from weft.model.report import Report
from weft.model.workload import Workload
from weft.processes.name import ProcessName
from weft.sources.workloads import put_workload
from weft.traffic.keeper import WAITING, TrafficKeeper
from weft.traffic.names import Teller

SUBJECT = "spiffe://cluster.local/ns/default/sa/echo;OU=v1,O=echo,CN=echo-v1.default"
KEY = f"200;-;;{SUBJECT};VirtualService default/echo;;outbound|80||echo.default.svc.cluster.local"


class Envoy:
    """Says that it has counted `requests`."""

    def __init__(self) -> None:
        self.requests = 0
        self.name: ProcessName | None = ProcessName(1, "x")
        self.asked: list[str] = []

    async def look(self, path: str) -> bytes:
        self.asked.append(path)
        if path != SERIES_QUERY:
            return b""
        bins = [{"lower_bound": 5.0, "width": 0.1, "count": self.requests}]
        details = [
            {"name": "weft.outbound.all", "totals": bins},
            {"name": f"weft.outbound.duration.key.{KEY}", "totals": bins},
        ]
        return json.dumps({"stats": [{"histograms": {"details": details}}]}).encode()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_control(tmp_path) as rig:
        revision = await rig.store.write([put_workload(Workload("client", "default", "client"))], leases={})
        await rig.parts.collector.included(revision)
        yield rig


def teller(rig: Rig, envoy: Envoy, socket: Path | None = None) -> TrafficTeller:
    where = socket or rig.home.agent_socket
    client = ControlPlaneClient(ControlPlane(), where, CertificateFiles(rig.files), "default", "client")
    return TrafficTeller(client, envoy.look, lambda: envoy.name)


async def told(rig: Rig) -> list[tuple[str, str, int]]:
    keeper = rig.parts.reports
    assert keeper is not None
    await keeper.take()
    return [(one.source, one.destination, one.requests) for one in (await keeper.window(3600)).edges]


async def test_what_is_new_is_told_and_nothing_when_there_is_nothing(rig: Rig) -> None:
    envoy = Envoy()
    agent = teller(rig, envoy)
    envoy.requests = 3
    assert await agent.look()
    assert await agent.tell() == 2.0
    assert await told(rig) == [("default/client", "default/echo", 3)]
    assert not await agent.look()
    envoy.requests = 5
    assert await agent.look()
    await agent.tell()
    assert await told(rig) == [("default/client", "default/echo", 5)]
    await agent.last()


async def test_a_control_plane_that_is_away_is_told_when_it_is_back(rig: Rig, tmp_path: Path) -> None:
    envoy = Envoy()
    socket = tmp_path / "moved.sock"
    agent = teller(rig, envoy, socket)
    for envoy.requests in (3, 5):
        await agent.look()
        with pytest.raises(UnreachableError):
            await agent.tell()
    socket.symlink_to(rig.home.agent_socket)
    await agent.tell()
    await agent.tell()
    assert await told(rig) == [("default/client", "default/echo", 5)]
    await agent.last()


async def test_an_adopted_envoy_is_told_of_from_now_on(rig: Rig) -> None:
    envoy = Envoy()
    envoy.requests = 7
    first = teller(rig, envoy)
    await first.look()
    await first.last()
    envoy.requests = 9
    second = teller(rig, envoy)
    second.adopt()
    assert not await second.look()
    envoy.requests = 10
    assert await second.look()
    await second.tell()
    assert await told(rig) == [("default/client", "default/echo", 8)]
    assert (await rig.parts.traffic.window(3600)).dropped == 2
    await second.last()


async def test_a_control_plane_without_room_is_told_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    envoy = Envoy()
    agent = teller(rig, envoy)
    keeper = rig.parts.reports
    assert keeper is not None

    def full(_teller: Teller, _report: Report) -> Any:
        for number in range(WAITING + 1):
            answer = submit(Teller(f"x/{number}", "x/y"), Report("a", 1))
        return answer

    submit = keeper.submit
    envoy.requests = 4
    await agent.look()
    with monkeypatch.context() as patched:
        patched.setattr(TrafficKeeper, "submit", lambda _self, one, two: full(one, two))
        assert await agent.tell() == 5.0
    await keeper.take()
    await agent.tell()
    assert await told(rig) == [("default/client", "default/echo", 4)]
    await agent.last()


async def test_an_envoy_that_does_not_answer_is_no_news(rig: Rig) -> None:
    envoy = Envoy()
    envoy.name = None
    agent = teller(rig, envoy)
    assert not await agent.look()
    assert envoy.asked == []
    await agent.last()
    assert await told(rig) == []
