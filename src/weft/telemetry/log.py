"""Logging set-up: short lines for people on stderr, or timed lines for a server's log. Secrets never come here."""

from __future__ import annotations

import logging
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
        text = super().formatMessage(record)
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def set_up_logging(prefix: str = "weft", level: int = logging.INFO, *, timed: bool = False) -> None:
    """Send records of weft and of its libraries to stderr, once per process; libraries only from warnings up.

    `timed` gives lines with time, level and logger instead of `prefix`, as servers want them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ServerFormatter() if timed else _PeopleFormatter(prefix))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("weft").setLevel(level)
