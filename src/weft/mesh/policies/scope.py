"""Where a policy applies, and which of several is in force: one noun and one rule for every kind of policy.

A policy is for the whole mesh (a document of the root namespace that names nothing narrower), for a namespace, or for
what it names there: the workloads of a selector, or a target (a host, or another object). Narrower beats wider. Of two
documents with the same scope one that cannot be understood goes first, then the oldest, then the first by namespace and
name; the other is a conflict.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.labels import Labels, selects
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable

SpecT = TypeVar("SpecT")
SpecT_co = TypeVar("SpecT_co", covariant=True)


class Breadth(enum.IntEnum):
    """How much a scope covers, the narrowest first."""

    UNKNOWN = 0
    NAMED = 1
    NAMESPACE = 2
    MESH = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """What a policy is for. `namespace` is empty for the whole mesh; `selector` or `target` narrow it. `known` False:
    it is narrowed by something that cannot be read, so it is for all of the namespace, and nothing is an exception."""

    namespace: str
    selector: Labels = ()
    target: str = ""
    known: bool = True

    @property
    def breadth(self) -> Breadth:
        """How much it covers."""
        if not self.known:
            return Breadth.UNKNOWN
        if self.selector or self.target:
            return Breadth.NAMED
        return Breadth.NAMESPACE if self.namespace else Breadth.MESH

    def covers(self, namespace: str, labels: Labels) -> bool:
        """Whether a workload with these labels is in it. A scope with a target covers no workload."""
        if self.target or self.namespace not in ("", namespace):
            return False
        return not self.selector or selects(self.selector, labels)


def scope_in(namespace: str, root_namespace: str, selector: Labels = ()) -> Scope:
    """The scope of a document of `namespace` that selects workloads, or all of them: in the root namespace these are
    the whole mesh's."""
    return Scope("" if namespace == root_namespace and not selector else namespace, selector)


@dataclass(frozen=True, slots=True, eq=False)
class Policy(Generic[SpecT_co]):
    """A document in force and what it is for. Compared by identity."""

    scope: Scope
    document: Document[SpecT_co]


def settle(
    policies: Iterable[Policy[SpecT]], path: FieldPath, code: str, expected: str
) -> tuple[tuple[Policy[SpecT], ...], tuple[Problem, ...]]:
    """The policies in force, oldest first, and a Problem at field `path` for each that an older one shuts out."""
    owners: dict[Scope, Policy[SpecT]] = {}
    problems: list[Problem] = []
    for policy in sorted(policies, key=_precedence):
        owner = owners.setdefault(policy.scope, policy)
        if owner is not policy:
            other = owner.document
            why = "cannot be understood" if isinstance(other.spec, Unreadable) else "is older"
            message = f"{other.key} ({other.origin}) {why} and is for the same{_what(policy)}"
            problems.append(
                problem_at(policy.document, path, code, f"{message}, so this one is not in force", expected)
            )
    return tuple(owners.values()), tuple(problems)


def _precedence(policy: Policy[object]) -> tuple[bool, float, str]:
    return (not isinstance(policy.document.spec, Unreadable), *policy.document.precedence)


def _what(policy: Policy[object]) -> str:
    target = policy.scope.target
    if " " in target:  # kind and name
        return f" {target}"
    return f" host '{target}'" if target else " workloads"


def applicable(policies: Iterable[Policy[SpecT]], namespace: str, labels: Labels) -> Iterator[Policy[SpecT]]:
    """The policies for a workload, the narrowest first: of each breadth the oldest that covers it. `policies` are
    ordered as `settle` gives them."""
    found: dict[Breadth, Policy[SpecT]] = {}
    for policy in policies:
        if policy.scope.covers(namespace, labels):
            found.setdefault(policy.scope.breadth, policy)
    return (found[breadth] for breadth in sorted(found))
