"""The agent's part of the journal and the tap, in virtual time: what is told, and that nothing stays switched on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from support.virtual_time import in_virtual_time
from weft.agent.client import UnreachableError
from weft.agent.requests import Requests
from weft.model.requests import RequestsAnswer, RequestsReport, TapFilter, TapOrder


@dataclass
class Ends:
    """A control plane and an Envoy that remember."""

    answer: Callable[[], RequestsAnswer] = RequestsAnswer
    reports: list[RequestsReport] = field(default_factory=list)
    runtime: list[str] = field(default_factory=list)
    away: bool = False
    envoy: bool = True

    async def report_requests(self, report: RequestsReport) -> RequestsAnswer:
        if self.away:
            raise UnreachableError("away")
        self.reports.append(report)
        return self.answer()

    async def set_runtime(self, key: str, value: str) -> bool:
        if self.envoy:
            self.runtime.append(value)
        return self.envoy

    def plain(self, text: bytes) -> bytes:
        return text

    @property
    def told(self) -> list[str]:
        return [seen.id for report in self.reports for seen in report.requests]


def write(directory: Path, name: str, *ids: str, **fields: Any) -> None:
    with (directory / name).open("a") as file:
        for each in ids:
            file.write(json.dumps({"time": "1.5", "side": "inbound", "id": each, "status": 503} | fields) + "\n")


def size(path: Path) -> int:
    return path.stat().st_size


@contextlib.asynccontextmanager
async def running(ends: Ends, directory: Path, *, fresh: bool = True) -> AsyncIterator[Requests]:
    requests = Requests(directory, ends, ends)  # type: ignore[arg-type]
    requests.prepare(fresh=fresh)
    task = asyncio.create_task(requests.run())
    try:
        yield requests
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@in_virtual_time
async def test_failures_are_told_at_once_and_the_file_is_emptied(tmp_path: Path) -> None:
    ends = Ends()
    async with running(ends, tmp_path):
        assert (tmp_path / "requests.log").stat().st_mode & 0o777 == 0o600
        write(tmp_path, "requests.log", "a", "b")
        await asyncio.sleep(1.0)
        assert ends.told == ["a", "b"]
        assert size(tmp_path / "requests.log") == 0
        with (tmp_path / "requests.log").open("a") as file:
            file.write('{"time": "2", "side": "inbou')
            file.flush()
            await asyncio.sleep(1.0)
            file.write('nd", "id": "c"}\n')
        await asyncio.sleep(1.0)
        assert ends.told == ["a", "b", "c"]
    assert ends.runtime == ["0"]


@in_virtual_time
async def test_tunnels_that_end_are_no_failures(tmp_path: Path) -> None:
    ends = Ends()
    async with running(ends, tmp_path):
        write(tmp_path, "requests.log", "tunnel", method="CONNECT", status=200, flags="DC")
        write(tmp_path, "requests.log", "websocket", method="GET", status=101, flags="DC")
        write(tmp_path, "requests.log", "refused", method="CONNECT", status=503)
        await asyncio.sleep(1.0)
    assert ends.told == ["refused"]


@in_virtual_time
async def test_what_waits_is_told_when_the_control_plane_is_back_and_is_bounded(tmp_path: Path) -> None:
    ends = Ends(away=True)
    async with running(ends, tmp_path):
        for number in range(10):
            write(tmp_path, "requests.log", *[f"{number}-{each}" for each in range(200)])
            await asyncio.sleep(0.6)
        ends.away = False
        await asyncio.sleep(10.0)
        assert len(ends.told) == 200
        assert ends.told[-1] == "9-199"
        assert sum(report.left_out for report in ends.reports) == 1800


@in_virtual_time
async def test_an_idle_agent_asks_as_seldom_as_it_is_told(tmp_path: Path) -> None:
    ends = Ends(lambda: RequestsAnswer(10.0))
    async with running(ends, tmp_path):
        await asyncio.sleep(60.0)
    assert 5 <= len(ends.reports) <= 8


@in_virtual_time
async def test_a_tap_passes_on_what_is_wanted_and_ends_by_itself(tmp_path: Path) -> None:
    order = TapOrder((TapFilter(path="/a"),), 4, 5.0)

    ends = Ends(lambda: RequestsAnswer(2.0, order))
    async with running(ends, tmp_path):
        await asyncio.sleep(0.7)
        assert "100" in ends.runtime
        write(tmp_path, "tap.log", *map(str, range(10)), path="/a", headers={"x": "1"})
        write(tmp_path, "tap.log", "other", path="/b", headers={})
        await asyncio.sleep(2.0)
        assert ends.told == ["0", "1"]
        assert sum(report.untapped for report in ends.reports) == 8
        assert size(tmp_path / "tap.log") == 0
        ends.away = True  # nobody says any more that it shall go on
        await asyncio.sleep(12.0)
        assert ends.runtime[-1] == "0"


@in_virtual_time
async def test_a_tap_is_off_after_the_agent_has_ended_or_was_started_again(tmp_path: Path) -> None:
    order = TapOrder((TapFilter(),), 4, 60.0)

    ends = Ends(lambda: RequestsAnswer(2.0, order))
    async with running(ends, tmp_path):
        await asyncio.sleep(1.0)
        assert ends.runtime[-1] == "100"
    assert ends.runtime[-1] == "0"
    again = Ends(envoy=False)
    async with running(again, tmp_path, fresh=False):
        await asyncio.sleep(3.0)
        again.envoy = True
        await asyncio.sleep(1.0)
        assert again.runtime == ["0"]


@in_virtual_time
async def test_an_agent_that_takes_over_tells_what_was_noted_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, "requests.log", "meanwhile")
    ends = Ends()
    async with running(ends, tmp_path, fresh=False):
        await asyncio.sleep(1.0)
        assert ends.told == ["meanwhile"]
    write(tmp_path, "requests.log", "long ago")
    fresh = Ends()
    async with running(fresh, tmp_path):
        await asyncio.sleep(1.0)
        assert fresh.told == []


@in_virtual_time
async def test_a_report_is_never_larger_than_is_accepted(tmp_path: Path) -> None:
    order = TapOrder((TapFilter(),), 100, 5.0)
    ends = Ends(lambda: RequestsAnswer(2.0, order))
    async with running(ends, tmp_path):
        await asyncio.sleep(0.7)
        large = {f"x-{number}": "a" * 128 for number in range(60)}
        write(tmp_path, "tap.log", *map(str, range(50)), headers=large)
        await asyncio.sleep(4.0)
    assert ends.told == [str(number) for number in range(50)]
    assert all(len(msgspec.json.encode(report)) < 256 * 1024 for report in ends.reports)
