"""Stopping and waiting for processes that nobody watches. Blocks."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from weft.processes.name import ProcessName


def stop_now(name: ProcessName, grace: float, *, group: bool = True) -> None:
    """Stop a process (with the group it leads, unless `group` is False) that nobody watches: SIGTERM, SIGKILL after
    `grace` seconds. Blocks."""
    send = os.killpg if group else os.kill
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not name.alive:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(name.pid, number)
        wait_now(name, patience)


def wait_now(name: ProcessName, patience: float) -> None:
    """Wait up to `patience` seconds until a process that nobody watches has ended. Blocks."""
    deadline = time.monotonic() + patience
    while name.alive and time.monotonic() < deadline:
        time.sleep(0.05)
