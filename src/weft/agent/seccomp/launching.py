"""How a launcher is started: by this Python, without site packages and variables that are meant for the application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_CODE = "import sys; sys.path.append(sys.argv.pop(1)); from weft.agent.seccomp.launch import main; main(sys.argv[1:])"


def launching(
    proxy: int, dns: int, secret: Path, log: Path, command: Sequence[str], *, parent: bool = False
) -> tuple[str, ...]:
    """The command that becomes `command`, captured: what it connects to is led to the ports `proxy` and `dns` (0: not)
    of loopback. `parent`: the holder stays its parent, also where it need not."""
    return (*_python(), *(("parent",) if parent else ()), str(proxy), str(dns), str(secret), str(log), *command)


def trying() -> tuple[str, ...]:
    """The command that tries capture on this system: its exit code is 0 if it works, else it prints why not."""
    return (*_python(), "try")


def why_not(trial: tuple[str, ...], patience: float) -> str:
    """Why a way of capture does not work here, as its `trial` says within `patience` seconds; empty where it works."""
    if sys.platform != "linux":
        return "it needs Linux"
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=patience, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"trying it failed: {error}"
    if done.returncode == 0:
        return ""
    return done.stdout.strip() or f"trying it failed: {done.stderr.strip().rpartition(chr(10))[2]}"


def _python() -> tuple[str, ...]:
    return (sys.executable, "-E", "-P", "-S", "-B", "-c", _CODE, str(_ROOT))
