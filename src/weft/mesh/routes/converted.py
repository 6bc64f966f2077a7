"""What a route document becomes for one port: its rules in order, each with its precedence, and its problems."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.policies.destinationrule import Target
from weft.mesh.routes.rules import HashKey, Rule
from weft.mesh.services.service import backend_name
from weft.model.document import Document
from weft.model.origin import PathPart
from weft.model.problem import Problem, Severity

RulePrecedence = tuple[float | str, ...]
"""Sort key among the rules of one host; the smaller, the earlier it is tried."""

MESH = "mesh"
"""The side of sidecars, as VirtualService writes it; gateways are ``namespace/name``."""


@dataclass(frozen=True, slots=True)
class Converted:
    """Rules of one document for one port and side, in the order they are tried, each with its `precedence`."""

    rules: tuple[Rule, ...] = ()
    precedence: tuple[RulePrecedence, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """A destination that exists: the name of its backend and the key it is balanced by."""

    backend: str
    hash: HashKey | None


def reach(target: Target, port: int, subset: str = "") -> Reached:
    """The destination `port` of a target, or of one of its subsets."""
    return Reached(backend_name(target.service.host, port, subset), target.policy(port, subset).hash)


def trouble(
    document: Document[object],
    path: tuple[PathPart, ...],
    code: str,
    message: str,
    expected: str = "",
    *,
    severity: Severity = Severity.ERROR,
    nearest: str = "",
) -> Problem:
    """A Problem at a field of a document."""
    return Problem(severity, code, message, document.at(*path), document.key, path, expected, nearest)
