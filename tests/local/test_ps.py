"""`weft ps` and completion read what is written down: of a mesh that is up, of one that was killed."""

import json
import os
from pathlib import Path

import click
import pytest

from weft.agent.state import State, write_state
from weft.cli.complete import complete_log, complete_process
from weft.cli.main import run
from weft.local.ps import age, process_rows, unit_names
from weft.local.record import Phase, UnitStatus, UpRecord, UpState
from weft.model.workload import SocketAddress, WorkloadPort, WorkloadState
from weft.processes.name import name_of
from weft.settings.home import Home

ME = name_of(os.getpid())
SINCE = 1777629600.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    for name in ("web", "extra"):
        directory = home.workload("default", name)
        directory.mkdir(parents=True)
        here = SocketAddress("127.0.0.1", 8080)
        ports = (WorkloadPort(80, here, SocketAddress("127.0.0.1", 9000)),)
        state = State(
            name,
            "default",
            agent=ME,
            responder=ME,
            confinement=ME,
            ports=ports,
            outbound=1,
            state=WorkloadState.UNHEALTHY,
        )
        write_state(directory, state)
    record = UpRecord(home)
    units = (
        UnitStatus("web", "workload", "default", "web", Phase.RUNNING, ME, since=SINCE),
        UnitStatus(
            "sick", "workload", "default", "sick", Phase.CRASHED, restarts=3, ending="has ended with exit code 7"
        ),
    )
    record.write(UpState(1, "weft.yaml", units=units))
    return home


def test_what_runs_what_crashed_and_what_was_started_by_hand(home: Home) -> None:
    record = UpRecord(home)
    record.take()
    try:
        web, sick, extra = process_rows(home)
        assert (web.state, web.addresses) == ("unhealthy", ("127.0.0.1:8080",))
        assert web.pids == {"agent": os.getpid(), "responder": os.getpid(), "relay": os.getpid()}
        assert web.memory > 1_000_000
        assert (sick.state, sick.restarts, sick.ending) == ("crashed", 3, "has ended with exit code 7")
        assert (extra.name, extra.started_by) == ("extra", "hand")
    finally:
        os.close(record._lock)
    assert unit_names(home) == ["web", "sick"]


def test_programs_get_the_spelling_and_times_of_the_admin_api(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    run(["ps", "--home", str(home.root), "-o", "json"])
    web = json.loads(capsys.readouterr().out)[0]
    assert (
        web["started_by"] == "weft up"
        and web["memory_bytes"] > 1_000_000
        and web["since"] == "2026-05-01T10:00:00.000Z"
    )


def test_the_table_keeps_addresses_whole(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    run(["ps", "--home", str(home.root)])
    heading, web, sick, _ = capsys.readouterr().out.splitlines()
    assert "127.0.0.1:8080" in web
    assert heading.endswith("LAST END") and sick.endswith("exit co…")


def test_a_killed_up_is_told(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps", "--home", str(home.root)]) == 0
    printed = capsys.readouterr()
    assert "sick   stopped" in printed.out and "has ended" not in printed.out
    assert "the `weft up` of these was killed" in printed.err


def test_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps", "--home", str(tmp_path)]) == 0
    assert f"nothing runs in {tmp_path}" in capsys.readouterr().err


def test_names_are_completed(home: Home) -> None:
    home.logs.mkdir()
    (home.logs / "web.log").touch()
    context = click.Context(click.Command("restart"))
    context.params["home"] = home
    parameter = click.Argument(["names"])
    assert complete_process(context, parameter, "s") == ["sick"]
    assert complete_log(context, parameter, "") == ["web"]


def test_age() -> None:
    assert [age(0, seconds) for seconds in (5, 119, 120, 7300, 200_000)] == ["5s", "119s", "2m", "2h", "2d"]
