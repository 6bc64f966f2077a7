"""Uses of Secrets and ConfigMaps: that a document names one, and which of its entries are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from weft.mesh.gateways.serving import Server
from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import Grants
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.origin import FieldPath
from weft.schema.kinds.meshconfig import PARAMETERS

SpecT = TypeVar("SpecT")
PAIR = frozenset(("tls.crt", "tls.key", "cert", "key"))
ROOTS = frozenset(("ca.crt", "cacert", "ca.crl", "crl"))
"""Entries of Secrets, as Kubernetes calls them and as Istio does."""
AUTHORITIES = frozenset(("ca.crt",))
OVERLAYS = frozenset(PARAMETERS)
"""Entries of ConfigMaps. Beside the second the names of others count: one that nobody knows is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """The field at `path` of a document names an object. `entries` of its data are looked at; None: all."""

    key: ObjectKey
    entries: frozenset[str] | None
    document: Document[object]
    path: FieldPath


@dataclass(frozen=True, slots=True, eq=False)
class Referred:
    """An object that is looked up, and all uses of it. Without `places` no document has to name it."""

    key: ObjectKey
    entries: frozenset[str] | None
    places: tuple[tuple[Document[object], FieldPath], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What decides about uses: the documents by kind, who may refer where, the gateway processes, the labels of
    namespaces, and to whom DestinationRules are told that do not say it."""

    memo: Memo
    kinds: Mapping[type[object], tuple[Document[object], ...]]
    grants: Grants
    servers: tuple[Server, ...]
    labels: Mapping[str, Labels]
    rule_exports: tuple[str, ...]

    def of(self, spec: type[SpecT]) -> tuple[Document[SpecT], ...]:
        """The documents of a kind."""
        return cast("tuple[Document[SpecT], ...]", self.kinds.get(spec, ()))

    def allowed(self, document: Document[object], key: ObjectKey) -> bool:
        """Whether a document may refer to an object."""
        return self.grants.allow((document.key.group, document.key.kind), document.key.namespace, key)
