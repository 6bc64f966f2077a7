"""Faults inside `weft up`: nothing runs on that nobody looks after and nobody would find."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.local.meshfile import MeshFile
from weft.local.processes import Spawned
from weft.local.record import Phase, UnitStatus, UpRecord, UpState
from weft.local.supervisor import Plan
from weft.local.up import run_up
from weft.processes.name import ProcessName, name_of
from weft.settings.home import Home


def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ProcessName] = []

    def fails(plan: Plan, record: UpRecord) -> Iterator[Spawned]:
        process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        process.returncode = 0
        started.append(name_of(process.pid) or ProcessName(0, ""))
        status = UnitStatus("web", "workload", "default", "web", Phase.STARTING, started[0])
        record.write(UpState(os.getpid(), plan.name, units=(status,)))
        yield from ()
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("weft.local.up.spawn_all", fails)
    plan = Plan(MeshFile(), tmp_path, Home(tmp_path / "home"))
    with pytest.raises(OSError, match="no space left"):
        run_up(plan, lambda _text: None, lambda _supervisor, _urls: None, str)
    assert not started[0].alive
    assert not (tmp_path / "home" / "up.json").exists()
