"""Naming: the names file, the responder's port, and the responder that an earlier agent left."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from support.dns_names import TABLE
from weft.agent.adopt import adoptable
from weft.agent.client import UnreachableError
from weft.agent.errors import AgentError
from weft.agent.names import NAMES_FILE, NamesFollower
from weft.agent.naming import Naming
from weft.agent.parameters import DnsParameters
from weft.agent.ports import PortAllocator, allocate_dns_port, held_ports
from weft.agent.state import State, stop_processes
from weft.model.names import NamesAnswer, NameTable
from weft.processes.name import name_of
from weft.settings.home import Home
from weft.testing.polling import eventually, until


class Told:
    """What a control plane says, or fails with; and with which versions it was asked."""

    def __init__(self, *answers: NamesAnswer | AgentError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, version: str, _wait: float) -> NamesAnswer:
        self.asked.append(version)
        if not self.answers:
            await asyncio.Event().wait()
        found = self.answers.pop(0)
        if isinstance(found, AgentError):
            raise found
        return found


@contextlib.asynccontextmanager
async def following(directory: Path, told: Told) -> AsyncIterator[NamesFollower]:
    follower = NamesFollower(directory, told)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


def kept(directory: Path) -> NamesAnswer:
    return msgspec.json.decode((directory / NAMES_FILE).read_bytes(), type=NamesAnswer)


async def test_what_is_told_is_kept_and_asked_for_from_there(tmp_path: Path) -> None:
    told = Told(NamesAnswer("1", TABLE), NamesAnswer("1"), NamesAnswer("2", NameTable()))
    async with following(tmp_path, told) as follower:
        await asyncio.wait_for(follower.known.wait(), 60)
        await eventually("all was asked", lambda: told.asked == ["", "1", "1", "2"])
        assert kept(tmp_path) == NamesAnswer("2", NameTable())
    assert (tmp_path / NAMES_FILE).stat().st_mode & 0o077 == 0


async def test_a_control_plane_that_is_away_takes_no_names_and_the_next_agent_has_them_at_once(tmp_path: Path) -> None:
    async with following(tmp_path, Told(NamesAnswer("1", TABLE))) as follower:
        await asyncio.wait_for(follower.known.wait(), 60)
    told = Told(UnreachableError("away"), UnreachableError("away"))
    async with following(tmp_path, told) as follower:
        await asyncio.wait_for(follower.known.wait(), 60)
        await eventually("it asks again and again", lambda: told.asked == ["1", "1", "1"])
    assert kept(tmp_path).table == TABLE


async def test_a_file_that_cannot_be_read_is_asked_for_anew(tmp_path: Path) -> None:
    (tmp_path / NAMES_FILE).write_text("{")
    told = Told()
    async with following(tmp_path, told) as follower:
        await eventually("it asks", lambda: told.asked == [""])
        assert not follower.known.is_set()


async def test_what_cannot_be_written_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("weft.agent.names.write_atomically", full)
    told = Told(NamesAnswer("1", TABLE))
    async with following(tmp_path, told) as follower:
        await eventually("it asks for the same again", lambda: told.asked == ["", ""])
        assert not follower.known.is_set()


def test_the_port_stays_and_is_free_for_both_protocols() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        port = PortAllocator({15053}).free("127.0.0.1")  # not of those that the system gives to clients meanwhile
        taken.bind(("127.0.0.1", port))
        with pytest.raises(AgentError, match=f"--dns: port {port} of 127.0.0.1 is taken"):
            allocate_dns_port(port, PortAllocator(set()), 0)
        assert allocate_dns_port(0, PortAllocator({15053}), port) not in (port, 15053)
    assert allocate_dns_port(0, PortAllocator({15053}), port) == port
    assert port in held_ports(State("a", "default", dns=port))


async def test_the_port_that_an_application_was_told_of_stays_and_is_tried_until_it_is_free(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        port = PortAllocator({15053}).free("127.0.0.1")
        taken.bind(("127.0.0.1", port))
        proxy = Saved(tmp_path, port)
        naming = Naming(cast(Any, proxy), DnsParameters())
        with pytest.raises(AgentError, match=f"does not answer at port {port}"):
            await naming.start(stays=True)
        assert proxy.state.dns == port
    keeping = [asyncio.create_task(each) for each in naming.keeping()]
    try:
        await eventually("it answers", lambda: listens(port))
    finally:
        await naming.stop()
        for task in keeping:
            task.cancel()
        await asyncio.wait(keeping)


class Saved:
    """As much of a proxy as names need."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.parameters = SimpleNamespace(home=Home(directory))
        self.client = SimpleNamespace(names=Told())
        self.state = State("a", "default", dns=port)

    def save(self, **changes: Any) -> None:
        self.state = dataclasses.replace(self.state, **changes)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_responder_without_its_application_is_not_left_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as left:
        state = State("a", "default", plan="p", responder=name_of(left.pid), dns=15053)
        try:
            assert adoptable(state, "p", 5.0) is None
            until("it is gone", lambda: left.poll() is not None)
        finally:
            left.kill()


def test_a_responder_is_stopped_with_what_a_killed_agent_left() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as left:
        try:
            stop_processes(dataclasses.replace(State("a", "default"), responder=name_of(left.pid)), 5.0)
            until("it is gone", lambda: left.poll() is not None)
        finally:
            left.kill()
