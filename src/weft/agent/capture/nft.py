"""nft, the system's program for its rules: run with a text, as root, and told of when it is missing or refuses."""

from __future__ import annotations

import os
import shutil
import subprocess

from weft.agent.errors import AgentError

_SECONDS = 30.0
_NO_TABLE = "No such file or directory"


def apply_rules(text: str) -> None:
    """Put a text in force: all of it, or nothing. AgentError says why it was nothing."""
    done = _run(("-f", "-"), text)
    if done.returncode != 0:
        raise AgentError(f"nft refuses the rules, and nothing has changed: {done.stderr.strip()}")


def table_in_force(table: str, *, json: bool = False) -> str:
    """The rules of a table of the family ``inet`` as nft prints them; empty if there is no such table."""
    done = _run((*(("-j",) if json else ()), "list", "table", "inet", table))
    if done.returncode == 0:
        return done.stdout
    if _NO_TABLE in done.stderr:
        return ""
    raise AgentError(f"nft cannot list its rules: {done.stderr.strip()}")


def _run(words: tuple[str, ...], text: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise AgentError(
            "there is no nft on this host; install the package nftables (Debian, Fedora, Alpine and Arch call it so)"
        )
    if os.geteuid() != 0:
        raise AgentError("only root may change or see the rules of the system; use sudo")
    try:
        return subprocess.run(
            (program, *words), input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AgentError(f"nft has not answered in {_SECONDS:g} s") from error
