"""ReferenceGrant: which references across namespaces are allowed.

https://gateway-api.sigs.k8s.io/api-types/referencegrant/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.model.document import Document, ObjectKey
from weft.schema.kinds.gateway import GATEWAY_GROUP, ReferenceGrantSpec

GATEWAY = (GATEWAY_GROUP, "Gateway")


@dataclass(frozen=True, slots=True, eq=False)
class Grants:
    """All grants, by the namespace that gives them."""

    by_namespace: Mapping[str, tuple[Document[ReferenceGrantSpec], ...]]

    def allow(self, source: tuple[str, str], namespace: str, to: ObjectKey) -> bool:
        """Whether objects `source` (group, kind) of `namespace` may refer to the object `to`. References inside one
        namespace always may."""
        return namespace == to.namespace or any(
            _allows(grant.spec, (*source, namespace), to) for grant in self.by_namespace.get(to.namespace, ())
        )


def _allows(grant: ReferenceGrantSpec, source: tuple[str, str, str], to: ObjectKey) -> bool:
    return any((each.group, each.kind, each.namespace) == source for each in grant.from_) and any(
        (each.group, each.kind) == (to.group, to.kind) and each.name in (None, to.name) for each in grant.to
    )


def build_grants(documents: tuple[Document[ReferenceGrantSpec], ...]) -> Grants:
    """The grants of all documents."""
    found: dict[str, list[Document[ReferenceGrantSpec]]] = {}
    for document in documents:
        found.setdefault(document.key.namespace, []).append(document)
    return Grants(MappingProxyType({namespace: tuple(given) for namespace, given in found.items()}))
