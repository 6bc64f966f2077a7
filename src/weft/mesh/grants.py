"""ReferenceGrant: which references across namespaces are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.model.document import Document
from weft.schema.kinds.gateway import GATEWAY_GROUP, ReferenceGrantSpec

ROUTE = (GATEWAY_GROUP, "HTTPRoute")
GATEWAY = (GATEWAY_GROUP, "Gateway")


@dataclass(frozen=True, slots=True, eq=False)
class Grants:
    """All grants, by the namespace that gives them."""

    by_namespace: Mapping[str, tuple[ReferenceGrantSpec, ...]]

    def allow(self, source: tuple[str, str], source_namespace: str, kind: str, namespace: str, name: str) -> bool:
        """Whether objects `source` (group, kind) of `source_namespace` may refer to the core object `kind` `name` of
        `namespace`. References inside one namespace always may."""
        if source_namespace == namespace:
            return True
        return any(
            any((item.group, item.kind) == source and item.namespace == source_namespace for item in grant.from_)
            and any(
                item.group in ("", "core") and item.kind == kind and item.name in (None, "", name) for item in grant.to
            )
            for grant in self.by_namespace.get(namespace, ())
        )


def build_grants(documents: tuple[Document[ReferenceGrantSpec], ...]) -> Grants:
    """The grants of all documents."""
    found: dict[str, list[ReferenceGrantSpec]] = {}
    for document in documents:
        found.setdefault(document.key.namespace, []).append(document.spec)
    return Grants(MappingProxyType({namespace: tuple(specs) for namespace, specs in found.items()}))
