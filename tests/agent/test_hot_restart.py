"""What two Envoys share: the id, the memory, and what tells whether one may take over."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.adopt import adoptable
from weft.agent.binary import find_envoy
from weft.agent.hot_restart import (
    HotRestart,
    check_start,
    first_of,
    forget_request,
    options_of,
    request_restart,
    requested,
    runs_binary,
    why_not,
)
from weft.agent.state import State
from weft.processes.name import ProcessName, name_of


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[ProcessName, Path]]:
    """A process, and the program that it executes, which is replaced by a test."""
    program = tmp_path / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "600"], start_new_session=True) as started:
        name = name_of(started.pid)
        assert name is not None
        yield name, program
        started.kill()


def test_a_directory_has_the_same_id_each_time(tmp_path: Path) -> None:
    one, other = first_of(tmp_path / "one"), first_of(tmp_path / "other")
    assert one is not None
    assert one == first_of(tmp_path / "one") != other
    assert one.epoch == 0
    assert one.base * 10 + 9 < 1 << 32
    assert one.next.next == HotRestart(one.base, 2)
    assert "--restart-epoch 0 " in " ".join(one.options(7))
    assert "--parent-shutdown-time-s 7 " in " ".join(one.options(7))


def test_memory_of_another_user_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = first_of(tmp_path)
    assert own is not None
    own._memory.touch()
    try:
        assert first_of(tmp_path) == own, "what an earlier run has left is used again"
    finally:
        own._memory.unlink()
    monkeypatch.setattr(os, "getuid", lambda: 65_533)
    wanted = first_of(tmp_path)
    assert wanted is not None
    wanted._memory.touch()  # by whoever runs this test, who is another user
    try:
        found = first_of(tmp_path)
        assert found is not None
        assert found.base != wanted.base
    finally:
        wanted._memory.unlink()


def test_the_mark_of_a_beginner_is_cleared(tmp_path: Path) -> None:
    hot = first_of(tmp_path)
    assert hot is not None
    before = (104).to_bytes(8, sys.byteorder) + bytes(range(88)) + (1).to_bytes(8, sys.byteorder)
    try:
        hot._memory.write_bytes(before)
        hot.forget_beginner()
        assert hot._memory.read_bytes() == before[:-8] + bytes(8)
        hot._memory.write_bytes(before + b"x")
        hot.forget_beginner()
        assert hot._memory.read_bytes() == before + b"x", "what it does not know it leaves alone"
    finally:
        (tmp_path / "hot-restart_parent_1").touch()
        hot.remove(tmp_path)
    assert not hot._memory.exists()
    assert list(tmp_path.iterdir()) == []


def test_whether_a_process_runs_what_is_installed(process: tuple[ProcessName, Path], tmp_path: Path) -> None:
    name, program = process
    assert runs_binary(name, program)
    fresh = tmp_path / "fresh"
    shutil.copy(program, fresh)
    fresh.replace(program)
    assert runs_binary(name, program), "another file with the same content"
    shutil.copy(shutil.which("true") or "/bin/true", fresh)
    fresh.replace(program)
    assert not runs_binary(name, program)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert runs_binary(name, script), "nobody knows what a script executes"
    assert runs_binary(name, tmp_path / "none")
    assert options_of(name) == ("600",)
    assert "that of the running one not known" in why_not(name, find_envoy())
    assert "hot restart version is not known" in why_not(name, program)


@pytest.mark.parametrize("begins", [False, True])
def test_a_successor_whose_predecessor_has_ended(
    process: tuple[ProcessName, Path], tmp_path: Path, *, begins: bool
) -> None:
    """It has taken over while no agent looked, or never will."""
    name, _ = process
    hot = first_of(tmp_path)
    assert hot is not None
    before = State("web", "default", plan="p", envoy=ProcessName(1, "gone"), hot=hot, successor=name)
    before = dataclasses.replace(before, bootstrap="of the first", successor_bootstrap="its own")
    try:
        hot._memory.write_bytes((16).to_bytes(8, sys.byteorder) + int(begins).to_bytes(8, sys.byteorder))
        found = adoptable(before, "p", 5.0)
    finally:
        hot.remove(tmp_path)
    assert name.alive is not begins
    if begins:
        assert found is None
    else:
        assert found is not None
        assert (found.envoy, found.successor, found.hot) == (name, None, hot.next)
        assert found.bootstrap == "its own"


def test_a_bootstrap_is_tried_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.json").write_text("{}")
    assert check_start(find_envoy(), tmp_path, ("-c", "bootstrap.json")) == ""
    (tmp_path / "bootstrap.json").write_text('{"no_such_field": 1}')
    assert "no_such_field" in check_start(find_envoy(), tmp_path, ("-c", "bootstrap.json"))
    assert check_start(tmp_path / "none", tmp_path, ()) != ""


def test_a_request_stays_until_it_is_done(tmp_path: Path) -> None:
    assert not requested(tmp_path)
    forget_request(tmp_path)
    request_restart(tmp_path)
    assert requested(tmp_path)
    assert requested(tmp_path)
    forget_request(tmp_path)
    assert not requested(tmp_path)
