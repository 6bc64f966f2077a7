"""What an agent says about the connections between hosts."""

from __future__ import annotations

import logging
import socket
from typing import cast

import pytest

from support.loopback import tcp_server
from weft.agent.client import ControlPlaneClient, UnreachableError
from weft.agent.reachability import check_xds, run_reach_check
from weft.model.enrolment import ReachResponse
from weft.model.workload import SocketAddress

INBOUND = (SocketAddress("10.0.0.7", 23456),)
CLOSED = (("10.0.0.7:23456", "no answer in 3 s"),)


class Answers:
    """A control plane that gives these answers, one after the other."""

    def __init__(self, *answers: ReachResponse | Exception) -> None:
        self.left = list(answers)

    async def reach(self) -> ReachResponse:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def said(caplog: pytest.LogCaptureFixture, *answers: ReachResponse | Exception) -> list[str]:
    client = Answers(*answers)
    with caplog.at_level(logging.INFO):
        await run_reach_check(cast(ControlPlaneClient, client), INBOUND, again=0)
    assert not client.left
    return [record.getMessage() for record in caplog.records]


async def test_a_closed_way_is_said_once_and_an_open_one_at_last(caplog: pytest.LogCaptureFixture) -> None:
    closed = ReachResponse("10.0.0.7", 1, CLOSED)
    lines = await said(caplog, UnreachableError("away"), closed, closed, ReachResponse("10.0.0.7", 1))
    assert len(lines) == 2
    assert "does not reach this workload, so no caller may: 10.0.0.7:23456: no answer in 3 s" in lines[0]
    assert lines[1] == "callers reach this workload at 10.0.0.7:23456"


async def test_another_address_is_named(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await said(caplog, ReachResponse("192.0.2.9", 0))
    assert line == "callers are told 10.0.0.7:23456, not 192.0.2.9, where the control plane sees this host"


async def test_an_xds_server_that_does_not_connect(caplog: pytest.LogCaptureFixture) -> None:
    async with tcp_server(lambda reader, writer: reader.read(1)) as port:  # type: ignore[arg-type,return-value]
        await check_xds(f"127.0.0.1:{port}")
    assert not caplog.records
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await check_xds(f"127.0.0.1:{port}")
    assert f"the xDS server at 127.0.0.1:{port} does not: TCP: Connection refused" in caplog.text
