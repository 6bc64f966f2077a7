"""Command lines of weft itself: how to start it, and how to show a command that a person can paste.

It imports little, so that a command that fails can say so at once.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def interpreter() -> tuple[str, ...]:
    """How to start `weft` in this very environment, whatever modules lie in the working directory."""
    return (sys.executable, "-P", "-m", "weft.cli.main")


def command_line(*arguments: str, elsewhere: bool = False) -> str:
    """The command that runs the `weft` of this environment with `arguments`, to be shown to a person.

    `elsewhere`: it will be run in another directory.
    """
    beside = Path(sys.executable).with_name("weft")
    found = shutil.which("weft")
    given = os.environ.get("WEFT_COMMAND", "")
    if given and (given.lstrip("'").startswith("/") or not elsewhere):
        start = given
    elif found and beside.exists() and Path(found).samefile(beside):
        start = "weft"
    else:
        start = shlex.quote(str(beside)) if beside.exists() else shlex.join(interpreter())
    return f"{start} {shlex.join(arguments)}"
