"""How a finding of a cluster is told: with a code of the catalogue, what it is about, and the command that mends it."""

from __future__ import annotations

from weft.findings.finding import Finding
from weft.model.problem import Severity

UNFIT = "cluster-unfit"
RIGHTS = "cluster-rights"
WEBHOOK = "webhook-not-working"
UNWELL = "control-plane-unwell"
POD = "pod-not-injected"
_LISTED = 5


def error(code: str, about: str, message: str, fix: str = "") -> Finding:
    """Something that does not work."""
    return Finding(Severity.ERROR, code, message, about=about, fix=fix)


def warning(code: str, about: str, message: str, fix: str = "") -> Finding:
    """Something that works less well than it should, or will not for long."""
    return Finding(Severity.WARNING, code, message, about=about, fix=fix)


def listed(names: list[str]) -> str:
    """Some names for a sentence, and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def numbers(version: str) -> tuple[int, int]:
    """Major and minor of ``v1.37.2``; zeros where there are none."""
    parts = version.removeprefix("v").split(".")
    digits = ["".join(one for one in part if one.isdigit()) for part in parts[:2]]
    return (int(digits[0]), int(digits[1])) if len(digits) == 2 and all(digits) else (0, 0)
