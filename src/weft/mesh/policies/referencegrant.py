"""ReferenceGrant: which references across namespaces are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.model.document import Document, ObjectKey
from weft.schema.grants import grant_allows
from weft.schema.kinds.gateway import GATEWAY_GROUP, ReferenceGrantSpec

ROUTE = (GATEWAY_GROUP, "HTTPRoute")
GATEWAY = (GATEWAY_GROUP, "Gateway")


@dataclass(frozen=True, slots=True, eq=False)
class Grants:
    """All grants, by the namespace that gives them."""

    by_namespace: Mapping[str, tuple[Document[ReferenceGrantSpec], ...]]

    def allow(self, source: tuple[str, str], source_namespace: str, kind: str, namespace: str, name: str) -> bool:
        """Whether objects `source` (group, kind) of `source_namespace` may refer to the core object `kind` `name` of
        `namespace`. References inside one namespace always may."""
        to = ObjectKey("", kind, namespace, name)
        return grant_allows(self.by_namespace.get(namespace, ()), *source, source_namespace, to)


def build_grants(documents: tuple[Document[ReferenceGrantSpec], ...]) -> Grants:
    """The grants of all documents."""
    found: dict[str, list[Document[ReferenceGrantSpec]]] = {}
    for document in documents:
        found.setdefault(document.key.namespace, []).append(document)
    return Grants(MappingProxyType({namespace: tuple(given) for namespace, given in found.items()}))
