"""Unreadable: what stands for the spec of a security document that cannot be understood."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.labels import Labels


@dataclass(frozen=True, slots=True)
class TargetName:
    """What a targetRef names, in the document's namespace."""

    group: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It closes what it names, because what it would have closed is not known.

    `selector` and `targets` are what could be read of the spec's selector and targetRefs; with neither it is about the
    whole namespace (in the root namespace: the whole mesh). `scoped` False means that a selector or a targetRef is
    there and cannot be read: it is about the whole namespace, and nothing narrower is an exception from it.
    """

    kind: str
    selector: Labels = ()
    targets: tuple[TargetName, ...] = ()
    scoped: bool = True
