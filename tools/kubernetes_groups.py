"""Control groups of a node: its pods have a tree of their own, which goes when the node does.

A kubelet ends every pod that it finds in its tree and does not know, so two of a machine must not share one. Run as
``python -m tools.kubernetes_groups NAME COMMAND...``, it makes the tree, runs the command, and removes the tree.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_MOUNTED = Path("/sys/fs/cgroup")
_CPUSET = ("cpuset.cpus", "cpuset.mems")
_WEIGHTS = {"cpu.shares": "20480", "cpu.weight": "2000"}
"""A tree counts twenty times as much as one process, not like one: a busy machine would starve its pods."""
_PATIENCE = 10.0


def _hierarchies() -> list[Path]:
    """Where control groups are: one place in version 2, one for each controller in version 1."""
    if (_MOUNTED / "cgroup.controllers").exists():
        return [_MOUNTED]
    return [path for path in _MOUNTED.iterdir() if path.is_dir() and not path.is_symlink()]


def make_groups(name: str) -> None:
    """Make the tree `name` in every hierarchy. OSError if that is not allowed."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for file, weight in _WEIGHTS.items():  # of version 1, and 2
            if (group / file).exists():
                (group / file).write_text(weight)
        for file in _CPUSET:  # of version 1, where a group has none at first
            if (hierarchy / file).exists():
                (group / file).write_text((hierarchy / file).read_text())


def remove_groups(name: str) -> None:
    """Remove the tree `name`, once its last processes have left. It may be gone already."""
    end = time.monotonic() + _PATIENCE
    while left := [group for hierarchy in _hierarchies() if (group := hierarchy / name).exists()]:
        for group in left:
            for path in (*sorted(group.rglob("*/"), reverse=True), group):
                with contextlib.suppress(OSError):
                    path.rmdir()
        if time.monotonic() > end:
            return
        time.sleep(0.02)


def main(arguments: Sequence[str]) -> int:
    """Run the command with the tree; its exit code. The command inherits everything."""
    name, *command = arguments
    try:
        make_groups(name)
        return subprocess.run(command, check=False, close_fds=False).returncode
    finally:
        remove_groups(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
