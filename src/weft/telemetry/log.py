"""Logging set-up: short lines for people on stderr. Secrets never come here."""

from __future__ import annotations

import logging
import sys


class _PeopleFormatter(logging.Formatter):
    """``weft run reviews-v1: message``; warnings and errors say so."""

    def __init__(self, prefix: str) -> None:
        super().__init__("%(message)s")
        self._prefix = f"{prefix}: " if prefix else ""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{self._prefix}{level}{super().format(record)}"


def set_up_logging(prefix: str = "weft", level: int = logging.INFO) -> None:
    """Send records of weft and of its libraries to stderr, once per process; libraries only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PeopleFormatter(prefix))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("weft").setLevel(level)
