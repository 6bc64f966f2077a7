"""Whose connections are captured: users by name, cgroups by path, and never the proxy that they are led to."""

from __future__ import annotations

import difflib
import pwd
from pathlib import Path

from weft.agent.capture.rules import MAX_UID, CaptureRules
from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.state import State

CGROUPS = Path("/sys/fs/cgroup")


def user_id(text: str) -> int:
    """The uid that a name or a number means. AgentError with the nearest name if nobody is called so."""
    if text.isascii() and text.isdigit() and int(text[:11]) <= MAX_UID:
        return int(text[:11])
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        known = [entry.pw_name for entry in pwd.getpwall()]
        near = difflib.get_close_matches(text, known, 1)
        hint = f"; do you mean {near[0]}?" if near else ""
        raise AgentError(f"--user: this host has no user '{text}'{hint}", EXIT_USAGE) from None


def cgroup_path(text: str, root: Path = CGROUPS) -> str:
    """A cgroup of version 2 by its path below the mount, which may stand in front. AgentError if it is not there."""
    path = text.removeprefix(str(root)).strip("/")
    if not (root / "cgroup.controllers").is_file():
        raise AgentError(f"--cgroup: {root} is no mount of cgroup v2, by which nft knows cgroups; use --user")
    if not path or ".." in path.split("/") or '"' in path or not path.isprintable():
        raise AgentError(f"--cgroup: found '{text}', expected a path below {root}", EXIT_USAGE)
    if not (root / path).is_dir():
        parent = root / path
        while not parent.is_dir():
            parent = parent.parent
        known = sorted(each.name for each in parent.iterdir() if each.is_dir())
        missing = path.split("/")[len(parent.relative_to(root).parts)]
        near = difflib.get_close_matches(missing, known, 1)
        hint = f"; do you mean {(parent / near[0]).relative_to(root)}?" if near else ""
        raise AgentError(f"--cgroup: there is no {root / path}{hint}", EXIT_USAGE)
    return path


def check_no_loop(rules: CaptureRules, state: State) -> None:
    """AgentError if the rules would catch the proxy (or the responder) of the workload itself: what it sends would come
    back to it."""
    for what, process in (("proxy", state.envoy), ("responder", state.responder)):
        if process is None or not process.alive:
            if what == "proxy":
                raise AgentError(
                    f"the proxy of {state.namespace}/{state.name} does not run, so nobody knows as whom it will; "
                    "start the workload first"
                )
            continue
        uid = _uid_of(process.pid)
        if uid in rules.users:
            raise AgentError(
                f"the {what} of {state.namespace}/{state.name} (pid {process.pid}) runs as user {uid} itself, and what "
                "it sends would be led back to it; run the application as a user of its own, or choose it by --cgroup"
            )
        own = _cgroup_of(process.pid)
        for path in rules.cgroups:
            if own == path or own.startswith(f"{path}/"):
                raise AgentError(
                    f"the {what} of {state.namespace}/{state.name} (pid {process.pid}) is in the cgroup {own} itself, "
                    "and what it sends would be led back to it; give the application one of its own"
                )


def proxy_user(state: State) -> int:
    """The uid of a workload's proxy. AgentError if it does not run."""
    process = state.envoy
    if process is None or not process.alive:
        raise AgentError(f"the proxy of {state.namespace}/{state.name} does not run; start the workload first")
    return _uid_of(process.pid)


def _uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _cgroup_of(pid: int) -> str:
    """Its cgroup of version 2, without a slash at either end."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
