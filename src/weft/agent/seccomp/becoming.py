"""How a launcher becomes the application: with the environment, the signals and the exit codes that it would have."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

CANNOT, _NOT_FOUND, _NOT_EXECUTABLE = 1, 127, 126


def own_environment() -> dict[bytes, bytes]:
    """As it was given: Python may have set LC_CTYPE."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
        pairs = (each.partition(b"=") for each in file.read().split(b"\0") if b"=" in each)
    return {name: value for name, _, value in pairs}


def execute(command: Sequence[str], environment: dict[bytes, bytes]) -> NoReturn:
    """Become `command`, or say why not and end."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them
    try:
        os.execvpe(  # noqa: S606 - it becomes the application
            os.fsencode(command[0]), list(map(os.fsencode, command)), environment
        )
    except (FileNotFoundError, NotADirectoryError):
        give_up(f"cannot start {command[0]}: no such program or directory", _NOT_FOUND)
    except OSError as error:
        give_up(f"cannot start {command[0]}: {error.strerror}", _NOT_EXECUTABLE)


def give_up(text: str, code: int) -> NoReturn:
    """Say why, and end."""
    sys.stderr.write(f"weft: {text}\n")
    sys.stderr.flush()
    os._exit(code)
