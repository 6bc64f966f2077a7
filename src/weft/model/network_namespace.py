"""The network namespace that a workload's application lives in, as its agent and the control plane speak of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAMED = "/run/netns/"
"""Where those of ``ip netns`` are, by their names."""
EXPECTED = "the NAME of a network namespace (`ip netns`), or the path of one below /run"
_LONGEST = 200
_OTHER_RUN = "/var/run/"
_PATH = re.compile(r"/run(/[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*){1,8}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*", re.ASCII)
_GENERATION = re.compile(r"[0-9a-f]{1,16}-[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class NetworkNamespace:
    """The file by which it can be entered, and which namespace that was when the agent looked: another one may be made
    under the same name."""

    path: str
    generation: str


def namespace_path(text: str) -> str:
    """The path that `text` means, a name or a path; empty if it can be neither. Paths are below /run alone, where root
    keeps what lasts until the next start of the system: those in /proc are another's as soon as a number is."""
    path = text if text.startswith("/") else f"{NAMED}{text}" if _NAME.fullmatch(text) else ""
    if path.startswith(_OTHER_RUN):
        path = path.removeprefix("/var")
    return path if is_namespace_path(path) else ""


def is_namespace_path(path: str) -> bool:
    """Whether a registration may name this path: below /run, without steps up, hidden files or words of a shell."""
    return len(path) <= _LONGEST and _PATH.fullmatch(path) is not None


def is_generation(text: str) -> bool:
    """Whether this can say which namespace it is: device and inode of its file."""
    return _GENERATION.fullmatch(text) is not None
