"""How the agent asks for the application's health, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from support.virtual_time import VirtualTimeLoop
from weft.agent import health
from weft.agent.parameters import HealthParameters
from weft.model.workload import SocketAddress, WorkloadPort

WHERE = SocketAddress("127.0.0.1", 1)


def reports(
    monkeypatch: pytest.MonkeyPatch, parameters: HealthParameters, answers: str, known: bool | None = None
) -> tuple[list[tuple[float, bool]], list[float]]:
    """What is reported, and when it was asked, where `answers` has + and - for each check; times in seconds."""
    loop = VirtualTimeLoop()
    found: list[tuple[float, bool]] = []
    asked: list[float] = []

    async def check(_: HealthParameters, _addresses: tuple[SocketAddress, ...], _namespace: str) -> bool:
        asked.append(loop.time())
        if len(asked) > len(answers):
            raise asyncio.CancelledError
        return answers[len(asked) - 1] == "+"

    monkeypatch.setattr(health, "check", check)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(
            health.run_health(parameters, (WHERE,), lambda good: found.append((loop.time(), good)), known)
        )
    loop.close()
    return found, asked[:-1]


def test_thresholds_count_what_comes_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = HealthParameters(interval=10.0, healthy_after=2, unhealthy_after=3)
    found, _ = reports(monkeypatch, parameters, "-+-++--+---++")
    assert [good for _, good in found] == [True, False, True]


def test_failures_before_the_first_success_do_not_count_as_successes(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = reports(monkeypatch, HealthParameters(interval=10.0, healthy_after=3), "----+++")
    assert found == [(asked[-1], True)]
    assert asked[-1] - asked[-3] == pytest.approx(20.0)
    assert asked[4] < 1.0


def test_the_first_check_is_after_the_delay_but_not_of_an_application_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reports(monkeypatch, HealthParameters(delay=5.0), "+")[0] == [(5.0, True)]
    assert reports(monkeypatch, HealthParameters(delay=5.0), "-", known=True)[1] == [0.0]


def test_the_port_of_a_probe_is_where_the_application_has_it() -> None:
    ports = (WorkloadPort(8080, SocketAddress("127.0.0.1", 40000), WHERE), WorkloadPort(81, WHERE, WHERE))
    assert health.checked_addresses(HealthParameters(), ports) == (SocketAddress("127.0.0.1", 40000), WHERE)
    assert health.checked_addresses(HealthParameters(port=8080), ports) == (SocketAddress("127.0.0.1", 40000),)
    assert health.checked_addresses(HealthParameters(port=9), ports) == (SocketAddress("127.0.0.1", 9),)


@pytest.mark.parametrize(("status", "good"), [("200 OK", True), ("399 x", True), ("404 x", False), ("503 x", False)])
async def test_the_request_is_as_the_probe_says(status: str, good: bool) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = SocketAddress("127.0.0.1", server.sockets[0].getsockname()[1])
        parameters = HealthParameters(
            "http", "/ready", host="app.test", headers=(("user-agent", "me"), ("x-probe", "one, two"))
        )
        assert await health.check(parameters, (address,)) is good
    lines = heard[0].decode().split("\r\n")
    assert lines[:2] == ["GET /ready HTTP/1.1", "Host: app.test"]
    assert "user-agent: me" in lines
    assert "x-probe: one, two" in lines
