"""One `weft up` per home, and `weft down` that says whether it is down."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from weft.cli.main import run
from weft.local.record import HomeTaken, UpRecord
from weft.processes.name import name_of
from weft.settings.home import Home

STUBBORN = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); sys.stdin.read()"


def test_a_lock_that_is_given_back_at_this_moment_is_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (UpRecord(Home(tmp_path / "home")) for _ in range(3))
    first.take()
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        first.release()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second.take()
    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(HomeTaken):
        third.take()
    second.release()
    third.take()
    third.release()


def test_down_tells_when_the_mesh_is_not_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("weft.local.down._PATIENCE", 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as up:
        assert up.stdout is not None
        up.stdout.readline()
        (tmp_path / "up.lock").write_bytes(msgspec.json.encode(name_of(up.pid)))
        assert run(["down", "--home", str(tmp_path)]) == 4
        up.kill()
    assert "still stopping" in capsys.readouterr().err
