"""Which way of capture a workload is given, and why: by a holder where that works, else by rules of root."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import CaptureParameters
from weft.agent.ports import capture_addresses
from weft.agent.seccomp.launching import trying, why_not
from weft.agent.state import CapturedBy, State
from weft.agent.strict.mode import why_not_strict
from weft.model.workload import SocketAddress
from weft.settings.private import write_atomically

_LOG = logging.getLogger(__name__)
_SECRET_FILE = "capture.secret"  # noqa: S105 - its name
LOG_FILE = "capture.log"
"""What the holder or the relay of a workload says, in its directory."""
_PATIENCE = 10.0
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def why_not_seccomp() -> str:
    """Why connections cannot be captured by seccomp here; empty where they can. Found out by doing it (50 ms)."""
    found = why_not(trying(), _PATIENCE)
    return f"{found}{_yama()}" if found else ""


def captured_by(asked: CaptureParameters | None, command: tuple[str, ...], running: State | None) -> CapturedBy:
    """What captures the connections of a workload that is to run `command` (none: somebody else does). What is
    `running` already stays as it is. AgentError if what was `asked` for does not work."""
    if asked is None:
        return CapturedBy.NOTHING
    if asked.how in ("seccomp", "strict") and not command:
        raise AgentError(f"--capture {asked.how} needs a COMMAND, which it starts; or --capture rules", EXIT_USAGE)
    if running is not None and running.captured_by and asked.how in ("best", running.captured_by):
        return running.captured_by
    if asked.how == "rules" or not command:
        return CapturedBy.RULES
    if asked.how == "strict":
        return _strict()
    why_not = why_not_seccomp()
    if not why_not:
        _LOG.info("connections of the application are captured by seccomp")
        return CapturedBy.SECCOMP
    if asked.how == "seccomp":
        raise AgentError(f"--capture seccomp does not work here: {why_not}; see docs/capture.md")
    _LOG.warning(
        "connections are captured only where root installs rules (weft capture install); seccomp does not work: %s",
        why_not,
    )
    return CapturedBy.RULES


def _strict() -> CapturedBy:
    """Never less than was asked for."""
    if why_not := why_not_strict():
        raise AgentError(f"--capture strict does not work here: {why_not}; see docs/capture.md")
    _LOG.info("the application has a network of its own, whose only way out is its proxy")
    return CapturedBy.STRICT


def capture_secret(directory: Path) -> Path:
    """The file with the secret that a holder or a relay shows to its proxy, which is made if there is none."""
    path = directory / _SECRET_FILE
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32))
    return path


def capture_entry(directory: Path, state: State) -> tuple[tuple[SocketAddress, ...], str]:
    """Where the proxy takes connections of a holder or a relay, and the secret; nowhere if there is none."""
    if not state.captured_by.with_secret:
        return (), ""
    return capture_addresses(state), capture_secret(directory).read_text()


def remove_secret(directory: Path) -> None:
    """Leave nothing behind."""
    (directory / _SECRET_FILE).unlink(missing_ok=True)


def _yama() -> str:
    try:
        scope = _YAMA.read_text().strip()
    except OSError:
        return ""
    return f" (kernel.yama.ptrace_scope is {scope}; 0 and 1 let it)" if scope in ("2", "3") else ""
