"""Logging set-up: short lines for people on stderr, timed lines for a server's log, or lines with a priority for
systemd's journal. Secrets never come here."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextvars import ContextVar

ABOUT: ContextVar[str] = ContextVar("about", default="")
"""Whom records of this task and of those that it starts are about, where one process speaks for several."""


class _PeopleFormatter(logging.Formatter):
    """``weft run reviews-v1: message``; warnings and errors say so."""

    def __init__(self, prefix: str) -> None:
        super().__init__("%(message)s")
        self._prefix = f"{prefix}: " if prefix else ""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        about = f"{ABOUT.get()}: " if ABOUT.get() else ""
        return f"{self._prefix}{about}{level}{super().format(record)}"


class _ServerFormatter(logging.Formatter):
    """``2026-01-01T00:00:00.000Z info weft.controlplane: message``; control characters of strangers made visible."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The record's line, without a trace."""
        return _visible(super().formatMessage(record))


class _JournalFormatter(logging.Formatter):
    """``<6>weft.controlplane: message``, each line with its priority (sd-daemon(3)): the journal knows when, and which
    unit; control characters of strangers made visible."""

    _PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def __init__(self, *, named: bool) -> None:
        super().__init__("%(name)s: %(message)s" if named else "%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        priority = next((number for level, number in self._PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{_visible(line)}" for line in super().format(record).splitlines() or [""])


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def writes_to_journal(descriptor: int = 2) -> bool:
    """Whether a descriptor is the stream that systemd's journal reads (``JOURNAL_STREAM``, systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def set_up_logging(prefix: str = "weft", level: int = logging.INFO, *, timed: bool = False) -> None:
    """Send records of weft and of its libraries to stderr, once per process; libraries only from warnings up.

    `timed` gives lines with time, level and logger instead of `prefix`, as servers want them. In the journal there are
    neither time nor prefix, which it has.
    """
    handler = logging.StreamHandler(sys.stderr)
    if writes_to_journal():
        handler.setFormatter(_JournalFormatter(named=timed))
    else:
        handler.setFormatter(_ServerFormatter() if timed else _PeopleFormatter(prefix))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("weft").setLevel(level)
