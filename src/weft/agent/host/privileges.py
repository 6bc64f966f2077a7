"""With which rights the Envoy of a host runs: to enter network namespaces, where the agent has that right itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from weft.processes.capabilities import CAP_SYS_ADMIN, has_capability, keep_only
from weft.processes.namespaces import in_thread
from weft.processes.watch import Started, Starting, here

EXPECTED = "weft host as root, or with the capability CAP_SYS_ADMIN (docs/shared-proxy.md)"


def may_enter_namespaces() -> bool:
    """Whether this agent, and so the Envoy that it starts, may enter network namespaces."""
    return has_capability(CAP_SYS_ADMIN)


def node_starting(binary: Path, directory: Path) -> Starting:
    """How the Envoy of a host is started. Root's keeps no other capability of root's, unless it would not come to its
    own files then: those of another user. Whoever is not root hands on what it was given to hand on."""
    if os.geteuid() != 0 or not may_enter_namespaces():
        return here
    return partial(_start, (binary, directory))


def _start(needed: tuple[Path, ...], start: Callable[[], Started]) -> Started:
    if not all(_is_ours(path) for path in needed):
        return start()
    return in_thread(partial(keep_only, (CAP_SYS_ADMIN,)), start)


def _is_ours(path: Path) -> bool:
    """Whether everything on the way is root's, or anybody's to read."""
    whole = path.resolve()
    found = [each.stat() for each in (whole, *whole.parents) if each.exists()]
    return all(each.st_uid == 0 or each.st_mode & 0o005 == 0o005 for each in found)
