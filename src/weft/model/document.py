"""A Document: one user resource, decoded and validated, with its origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from weft.model.labels import Labels
from weft.model.origin import FieldLines, Origin, PathPart

SpecT_co = TypeVar("SpecT_co", covariant=True)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """What names one object: API group (empty for the core group), kind, namespace (empty if cluster-scoped), name."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {where}"


def key_mapping(key: ObjectKey) -> dict[str, str]:
    """A key as the APIs and ``-o json`` show it."""
    return {"group": key.group, "kind": key.kind, "namespace": key.namespace, "name": key.name}


@dataclass(frozen=True, slots=True, eq=False)
class Document(Generic[SpecT_co]):
    """One accepted resource. Compared by identity: an unchanged document stays the same object.

    `spec` is the kind's frozen value from `weft.schema.kinds`; `text` the whole resource as canonical JSON, as it is
    stored and shown (never in a repr: it may hold secrets); `created` seconds since the epoch, 0 when unknown (files),
    used for precedence only.
    """

    key: ObjectKey
    api_version: str
    spec: SpecT_co
    text: str = field(repr=False)
    lines: FieldLines
    labels: Labels = ()
    annotations: Labels = field(default=(), repr=False)
    created: float = 0.0
    generation: int = field(default=0)

    @property
    def origin(self) -> Origin:
        """Where the document starts."""
        return self.lines.origin()

    def at(self, *path: PathPart) -> Origin:
        """Where a field of it is."""
        return self.lines.origin(*path)

    @property
    def precedence(self) -> tuple[float, str]:
        """Sort key of Gateway API's conflict rule: oldest first, then by the text ``namespace/name``."""
        return (self.created, f"{self.key.namespace}/{self.key.name}")
