"""What systemd is told, read from real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from weft.processes.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[socket.socket, str]:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.settimeout(5)
    address = str(tmp_path / "notify") if request.param == "path" else f"@weft-test-{os.getpid()}"
    listening.bind(address.replace("@", "\0", 1))
    request.addfinalizer(listening.close)
    return listening, address


def test_what_is_said(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("serves\nX=1")
    assert listening.recv(500) == b"READY=1\nSTATUS=serves X=1", "a status cannot say more than a status"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = listening.recv(500).decode().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.stopping()
    assert listening.recv(500) == b"STOPPING=1"


async def test_signs_of_life(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "90000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.period == pytest.approx(0.03)
    living = asyncio.create_task(notifier.run())
    told = [await asyncio.to_thread(listening.recv, 500) for _ in range(3)]
    living.cancel()
    assert told == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "90000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "-5"}],
)
async def test_nobody_waits_for_signs_of_life(environment: dict[str, str]) -> None:
    async with asyncio.timeout(60):
        await Notifier(environment).run()


def test_a_manager_that_is_away_or_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    Notifier({}).ready("")
    Notifier({"NOTIFY_SOCKET": "relative"}).ready("")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as silent:
        silent.bind(str(tmp_path / "silent"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "silent")})
        for _ in range(2000):
            notifier.stopping()
