"""Names of claims where the name of a header stands: ``@request.auth.claims.NAME`` (Istio).

https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
"""

from __future__ import annotations

import re

_DOTS = re.compile(r"(?i:@request\.auth\.claims)((?:\.[^\s.\[\]]{1,128}){1,8})")
_BRACKETS = re.compile(r"(?i:@request\.auth\.claims)((?:\[[^\s\[\]]{1,128}\]){1,8})")


def is_claim(name: str) -> bool:
    """Whether a name is meant as that of a claim: no header begins so."""
    return name.startswith("@")


def claim_path(name: str) -> tuple[str, ...] | None:
    """The path of the claim, ``a.b`` and ``[a][b]`` for one inside of another; None if it names none."""
    if not name.isprintable():
        return None
    if (dots := _DOTS.fullmatch(name)) is not None:
        return tuple(dots[1][1:].split("."))
    brackets = _BRACKETS.fullmatch(name)
    return None if brackets is None else tuple(brackets[1][1:-1].split("]["))
