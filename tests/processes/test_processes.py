"""Processes: told from others with their pid, watched, stopped; off Linux too; their logs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weft.processes import name as names
from weft.processes.log import end_of_log, limit_log
from weft.processes.name import ProcessName, name_of
from weft.processes.stop import stop_now
from weft.processes.watch import start_orphan, start_process
from weft.testing.polling import until


async def test_a_process_is_told_from_another_with_its_pid() -> None:
    watch = start_process([sys.executable, "-c", "import time; time.sleep(60)"], None, os.environ)
    name = watch.name
    assert name == name_of(name.pid)
    impostor = ProcessName(name.pid, "another-1")
    assert not impostor.alive
    stop_now(impostor, 0.1)
    assert name_of(name.pid) == name, "a process with the same pid is left alone"
    await watch.stop(5)
    assert watch.exit_code == 128 + signal.SIGTERM
    assert not name.alive


async def test_a_process_gets_its_own_session_and_exit_code() -> None:
    watch = start_process([sys.executable, "-c", "import os, sys; sys.exit(os.getsid(0) == os.getpid())"], None, {})
    assert await watch.wait() == 1
    assert not watch.running
    watch.send(signal.SIGTERM)
    await watch.stop(0.1)


async def test_an_orphan_is_noted_before_it_is_executed(tmp_path: Path) -> None:
    done, noted = tmp_path / "done", list[ProcessName]()

    def note(name: ProcessName) -> None:
        assert name.alive
        assert not done.exists()
        noted.append(name)

    with (tmp_path / "out").open("wb") as out:
        watch = start_orphan(["/bin/sh", "-c", f"echo > {done}; kill -TERM $$"], tmp_path, {}, out, note, errors=out)
        assert [watch.name] == noted
        assert await watch.wait() is None
        assert done.exists()
        with pytest.raises(FileNotFoundError):
            start_orphan([str(tmp_path / "none")], tmp_path, {}, out, noted.append, errors=out)
    until("both have ended", lambda: not any(name.alive for name in noted))


def test_an_orphan_of_which_nobody_would_know_is_not_executed(tmp_path: Path) -> None:
    """Its starter is killed before it has written down what it starts."""
    program = """if True:
        import asyncio, os, pathlib, signal, sys
        from weft.processes.watch import start_orphan

        def note(name):
            pathlib.Path("pid").write_text(str(name.pid))
            os.kill(os.getpid(), signal.SIGKILL)

        async def start():
            start_orphan(["/bin/sh", "-c", "echo > done; exec sleep 60"], ".", {}, sys.stdout, note, errors=sys.stderr)

        asyncio.run(start())
    """
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    until("its end", lambda: name_of(int((tmp_path / "pid").read_text())) is None)
    assert not (tmp_path / "done").exists()


async def test_elsewhere_psutil_says_when_a_process_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_LINUX", False)
    me = name_of(os.getpid())
    assert me is not None
    assert me.alive
    assert not ProcessName(me.pid, "1.0").alive
    watch = start_process([sys.executable, "-c", "pass"], None, {})
    name = watch.name
    await watch.wait()
    assert not name.alive
    assert name_of(name.pid) is None


def test_a_log_is_bounded_and_its_end_shown(tmp_path: Path) -> None:
    log = tmp_path / "some.log"
    log.write_text("\n".join(f"line {number}" for number in range(1000)))
    assert end_of_log(log, 2) == "line 998\nline 999"
    limit_log(log, limit=10**6)
    assert log.stat().st_size > 1000
    limit_log(log, limit=1000, kept=100)
    assert log.stat().st_size == 0
    assert (tmp_path / "some.log.1").read_text().endswith("line 999")
    assert end_of_log(tmp_path / "none") == ""
