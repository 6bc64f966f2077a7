"""Who still runs in a pod, by the sockets of its network namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.agent.pod.applications import applications_run

_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(state: str, user: int) -> str:
    return f"   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {user}        0 7 1\n"


@pytest.mark.parametrize(
    ("rows", "run"),
    [
        ((), False),
        ((row("0A", 1337), row("01", 1337)), False),
        ((row("0A", 1337), row("0A", 5000)), True),
        ((row("01", 0),), True),
        ((row("06", 0), row("04", 0), row("08", 5000)), False),
    ],
)
def test_who_listens_or_is_connected_runs_and_what_is_closing_does_not(
    rows: tuple[str, ...], run: bool, tmp_path: Path
) -> None:
    table = tmp_path / "tcp"
    table.write_text("".join((_HEAD, *rows)))
    assert applications_run(1337, (tmp_path / "none", table)) is run
