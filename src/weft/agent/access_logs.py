"""Access logs on disk: where a proxy writes them, and their rotation by size.

Envoy is started with a mask that makes its files its user's own. They are in a directory in which nothing else is, and
documents name them by plain names only (`weft.schema.forms`), so none can make a proxy write anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from weft.model.telemetry import LOG_DIRECTORY

_LOG = logging.getLogger(__name__)
LIMIT = 10 * 1024 * 1024
"""Bytes after which a log file is put aside."""
KEPT = 5
"""How many files that were put aside are kept of each: ``NAME.1`` is the youngest."""
STDOUT = "access.log"
"""What Envoy writes to its standard output: access logs, and nothing else."""
_CHECK = 5.0


def rotate(directory: Path, limit: int = LIMIT, kept: int = KEPT) -> bool:
    """Put log files aside that are longer than `limit`, and drop the oldest; whether there were any. Envoy writes into
    the renamed file until it opens its logs anew."""
    rotated = False
    for log in sorted(directory.glob("*")):
        if log.suffix[1:].isdigit():
            continue
        with contextlib.suppress(OSError):
            if log.stat().st_size > limit:
                _put_aside(log, kept)
                rotated = True
    return rotated


def _put_aside(log: Path, kept: int) -> None:
    for number in range(kept - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(log, number).replace(_numbered(log, number + 1))
    log.replace(_numbered(log, 1))


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


async def run_rotation(workload: Path, reopen: Callable[[], Awaitable[bool]]) -> None:
    """Look after the log files of a workload's proxy, for ever. `reopen` has it open its logs anew."""
    directory, pending = workload / LOG_DIRECTORY, False
    while True:
        pending = rotate(directory) or pending
        if pending:
            pending = not await reopen()
            if pending:
                _LOG.debug("Envoy did not open its access logs anew; asking again")
        await asyncio.sleep(_CHECK)


def remove_empty(workload: Path) -> None:
    """Leave no trace of logs that nobody asked for."""
    stdout = workload / STDOUT
    with contextlib.suppress(OSError):
        if stdout.stat().st_size == 0:
            stdout.unlink()
    with contextlib.suppress(OSError):
        (workload / LOG_DIRECTORY).rmdir()
