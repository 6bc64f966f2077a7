"""`weft clean`: what is finished goes, what runs, may join again or belongs to others stays."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.state import DirectoryLock, State, write_state
from weft.local.clean import clean
from weft.local.names import UP_LOG
from weft.local.record import UpRecord, UpState
from weft.processes.name import ProcessName, name_of
from weft.settings.home import Home


def workload(home: Home, name: str, agent: ProcessName | None = None) -> Path:
    directory = home.workload("default", name)
    directory.mkdir(parents=True)
    write_state(directory, State(name, "default", agent=agent))
    return directory


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", temporary)  # short, as sockets' directories go there
        yield Home(tmp_path / "home")


def test_finished_runs_go_and_others_stay(home: Home) -> None:
    finished, killed = workload(home, "finished"), workload(home, "killed", ProcessName(1, "long ago"))
    running = workload(home, "running", name_of(os.getpid()))
    locked = workload(home, "locked")
    lock = DirectoryLock(locked)
    assert lock.acquire()
    certified = workload(home, "certified")
    (certified / "certs" / "1").mkdir(parents=True)
    (certified / "certs" / "1" / "chain.pem").write_text("")
    home.logs.mkdir()
    log = home.logs / "finished.log"
    log.write_text("old")
    assert clean(home, dry_run=True) == [finished, killed, log]
    assert finished.exists()
    assert clean(home, dry_run=False) == [finished, killed, log]
    assert not finished.exists()
    assert not killed.exists()
    assert running.exists()
    assert locked.exists()
    assert certified.exists()
    assert clean(home, dry_run=False, certified=True) == [certified]
    lock.release()


def test_the_log_of_a_weft_up_in_the_background_stays(home: Home) -> None:
    home.logs.mkdir(parents=True)
    log, old = home.logs / UP_LOG, home.logs / "old.log"
    for path in (log, old):
        path.write_text("")
    record = UpRecord(home)
    home.root.chmod(0o700)
    record.take()
    record.write(UpState(os.getpid(), "weft.yaml"))
    assert clean(home, dry_run=False) == [old]
    record.release()
    assert clean(home, dry_run=False) == [log]


def test_sockets_of_homes_that_are_gone(home: Home) -> None:
    old = home.short_directory
    used = old.with_name(old.name[:-1] + "-")
    fresh = old.with_name(old.name[:-1] + "+")
    for directory in (old, used, fresh):
        directory.mkdir()
        (directory / "a.sock").touch()
    for directory in (old, used):
        os.utime(directory, (0, 0))
    (used / "a.sock").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(used / "a.sock"))
        server.listen(0)
        os.utime(used, (0, 0))
        assert clean(home, dry_run=False) == [old]
        with contextlib.ExitStack() as waiting, contextlib.suppress(BlockingIOError):
            while True:  # until nobody else is let in: it stands still
                connection = waiting.enter_context(socket.socket(socket.AF_UNIX))
                connection.setblocking(False)
                connection.connect(str(used / "a.sock"))
        assert clean(home, dry_run=False) == []
