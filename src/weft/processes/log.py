"""Log files that processes append to: their end, and a bound on their size."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

_LIMIT = 10 * 1024 * 1024
_KEPT = 1024 * 1024
_LONGEST_LINE = 400


def end_of_log(log: Path, lines: int = 15, longest: int = _LONGEST_LINE) -> str:
    """The last `lines` lines of `log`, each cut to `longest` characters; empty when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - lines * longest))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line[:longest] for line in text.strip().splitlines()[-lines:])


def limit_log(log: Path, limit: int = _LIMIT, kept: int = _KEPT) -> None:
    """When `log`, which processes hold open to append, is longer than `limit` bytes, keep its last `kept` bytes beside
    it (``.log.1``) and begin anew."""
    with contextlib.suppress(OSError):
        size = log.stat().st_size
        if size <= limit:
            return
        with log.open("rb") as file, log.with_suffix(".log.1").open("wb") as old:
            file.seek(size - kept)
            shutil.copyfileobj(file, old)
        os.truncate(log, 0)
