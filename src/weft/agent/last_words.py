"""What Envoy said before it ended: the lines that say why, and for what the kernel had no room, what to do."""

from __future__ import annotations

import re
from pathlib import Path

from weft.processes.log import end_of_log

_LINES = 15
_TRACED = 60
"""Lines that are read: the trace of a failed assertion has some forty."""
_TRACE = re.compile(r"\]\[(backtrace|envoy_bug)\] ")
_INOTIFY = "inotify_fd_ >= 0"
"""The assertion of Envoy's file watcher, of which each Envoy has four (inotify(7))."""
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def last_words(log: Path) -> str:
    """The last lines of Envoy's `log` without the addresses of a trace; empty when it cannot be read."""
    lines = end_of_log(log, _TRACED).splitlines()
    return "\n".join([line for line in lines if not _TRACE.search(line)][-_LINES:])


def advice(words: str) -> str:
    """What to do about a limit of the kernel that `words` name; empty if they name none."""
    if _INOTIFY not in words:
        return ""
    try:
        limit = f" (fs.inotify.max_user_instances is {_INSTANCES.read_text().strip()})"
    except OSError:
        limit = ""
    return (
        f"; this user has no inotify instance left{limit}, of which each Envoy needs four: "
        "raise it, for instance with sudo sysctl fs.inotify.max_user_instances=1024"
    )
