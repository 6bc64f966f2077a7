"""Programs of the system that change its rules: run as root, and told of when they are missing or refuse."""

from __future__ import annotations

import os
import shutil
import subprocess

from weft.agent.errors import AgentError

_SECONDS = 30.0
_PATH = "/usr/sbin:/sbin"
_PACKAGES = {
    "nft": "the package nftables (Debian, Fedora, Alpine and Arch call it so)",
    "ip": "the package iproute2",
    "iptables-restore": "the package nftables, or iptables",
    "ip6tables-restore": "the package nftables, or iptables",
}


def find_program(name: str) -> str | None:
    """Where it is, also where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")


def run_program(name: str, words: tuple[str, ...], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it as root with `text` as its input. AgentError if that cannot be; what it answers is for the caller."""
    program = find_program(name)
    if program is None:
        raise AgentError(f"there is no {name} on this host; install {_PACKAGES.get(name, name)}")
    if os.geteuid() != 0:
        raise AgentError("only root may change or see the rules of the system; use sudo")
    try:
        return subprocess.run(
            (program, *words), input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AgentError(f"{name} has not answered in {_SECONDS:g} s") from error


def must_run(name: str, words: tuple[str, ...], text: str | None = None) -> str:
    """What it prints. AgentError if it refuses."""
    done = run_program(name, words, text)
    if done.returncode != 0:
        raise AgentError(f"{name} {' '.join(words)} is refused: {done.stderr.strip()}")
    return done.stdout
