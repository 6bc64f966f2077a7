"""Access logs on disk: rotated by size, and nothing is left of what nobody asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from weft.agent.access_logs import STDOUT, remove_empty, rotate, run_rotation
from weft.model.telemetry import LOG_DIRECTORY
from weft.testing import eventually


def names(directory: Path) -> dict[str, str]:
    """The files of a directory and what they hold."""
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_files_are_put_aside_by_size_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    for text in ("one", "two", "three"):
        log.write_text(text * 10)
        assert rotate(tmp_path, limit=20, kept=2)
        assert not log.exists()
    assert {name: text[:3] for name, text in names(tmp_path).items()} == {"access.log.1": "thr", "access.log.2": "two"}
    log.write_text("short")
    assert not rotate(tmp_path, limit=20, kept=2)
    assert log.read_text() == "short"
    assert not rotate(tmp_path / "none")


async def test_envoy_is_asked_until_it_opens_its_logs_anew(tmp_path: Path) -> None:
    directory = tmp_path / LOG_DIRECTORY
    directory.mkdir()
    (directory / "a.log").write_bytes(b"x" * (11 << 20))
    asked: list[bool] = []

    async def reopen() -> bool:
        asked.append(True)
        return True

    task = asyncio.create_task(run_rotation(tmp_path, reopen))
    await eventually("it is asked", lambda: bool(asked))
    task.cancel()
    assert set(names(directory)) == {"a.log.1"}


def test_no_trace_is_left_of_logs_that_nobody_asked_for(tmp_path: Path) -> None:
    (tmp_path / STDOUT).touch()
    (tmp_path / LOG_DIRECTORY).mkdir()
    remove_empty(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / STDOUT).write_text("line\n")
    (tmp_path / LOG_DIRECTORY).mkdir()
    (tmp_path / LOG_DIRECTORY / "a.log").touch()
    remove_empty(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {STDOUT, LOG_DIRECTORY}
