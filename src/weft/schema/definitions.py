"""CustomResourceDefinitions of weft's own kinds."""

from __future__ import annotations

import hashlib
from typing import Any

from weft.schema.decode import canonical_json
from weft.schema.kinds.meshconfig import WEFT_GROUP
from weft.schema.registry import KINDS, Kind
from weft.schema.structural import kind_schema

DIGEST = "weft.dev/schema"
"""The annotation of a definition that says which schema it has."""
DEFINED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.group == WEFT_GROUP)
"""The kinds that need a definition of ours."""


def schema_digest(kind: Kind) -> str:
    """What stands in `DIGEST` of a kind's definition."""
    return hashlib.sha256(canonical_json(kind_schema(kind)).encode()).hexdigest()[:16]


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind. The preferred version is stored; all of them have one schema."""
    schema = kind_schema(kind)
    versions = [
        {
            "name": version,
            "served": True,
            "storage": version == kind.versions[0],
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        for version in kind.versions
    ]
    names = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural, "singular": kind.name.lower()}
    also = {"shortNames": list(kind.short_names)} if kind.short_names else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "labels": {"app.kubernetes.io/part-of": "weft"},
            "annotations": {DIGEST: schema_digest(kind)},
        },
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {**names, **also, "categories": ["weft"]},
            "versions": versions,
        },
    }
