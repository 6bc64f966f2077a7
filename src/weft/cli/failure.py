"""Exit codes, and the error that ends a command with one."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What `weft` tells a shell. `weft run` passes on the application's own code instead."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMEOUT = 4
    IN_FILES = 5
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
  0  done
  1  it failed: bad documents, a proxy refused the configuration
  2  the command line is wrong
  3  no control plane, or no `weft up`, can be reached
  4  timed out while waiting
  5  what is to be undone belongs to followed files
  weft run: the application's exit code, 128 + N when signal N ended it"""


class FailedError(Exception):
    """Ends the command: its text goes to stderr (nothing if empty), `code` to the shell."""

    def __init__(self, message: str = "", code: int = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = int(code)
