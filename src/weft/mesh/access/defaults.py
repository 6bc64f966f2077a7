"""Whether workloads may be called where no policy says so: what the MeshConfig and Namespaces say, and their mistakes.

A document with errors that says anything of it but plainly `allow` means `deny`: a mistake closes, and never opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.mesh.access.attachment import DENY, nobody
from weft.mesh.access.policy import AccessPolicy
from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import MeshWide
from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.schema.annotations import DEFAULT_ACCESS, OWN_DOMAIN
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.kinds.meshconfig import MESH_CONFIG_NAME

NamespaceDocument = Document[NamespaceSpec]
_FIELD = '"defaultAccess":'
"""In the canonical JSON of a MeshConfig."""


def build_defaults(
    memo: Memo, wide: MeshWide, namespaces: tuple[NamespaceDocument, ...], documents: Iterable[Document[object]]
) -> tuple[Mapping[str, AccessPolicy | None], list[Problem]]:
    """The default policy of each namespace that has one of its own, and that of the mesh under the empty name; None:
    everybody may call. `documents` are those that may be unreadable."""
    found: dict[str, AccessPolicy | None] = {"": memo(_of_mesh, wide)}
    for document in namespaces:
        if DEFAULT_ACCESS in dict(document.annotations):
            found[document.key.name] = memo(_of_namespace, document)
    problems = []
    for mistaken in documents:
        name = _mistaken(mistaken, wide)
        if name is not None:
            found[name] = memo(_closed, mistaken)
            whom = f"workloads of {'namespace ' + name if name else 'the mesh'}"
            message = f"it cannot be understood, so {whom} may be called only where a policy says so until it is mended"
            expected = "a document without the errors told about it"
            problems.append(problem_at(mistaken, (), "policy-unreadable", message, expected))
    return found, problems


def _mistaken(document: Document[object], wide: MeshWide) -> str | None:
    """The namespace (empty: the mesh) that a document with errors closes by default."""
    spec, key = document.spec, document.key
    if not isinstance(spec, Unreadable):
        return None
    if spec.kind == "Namespace":
        said = [text for name, text in document.annotations if name.startswith(OWN_DOMAIN)]
        return key.name if any(text != "allow" for text in said) else None
    if spec.kind != "MeshConfig" or wide.document is not None or key.name != MESH_CONFIG_NAME:
        return None
    return "" if _FIELD in document.text and f'{_FIELD}"allow"' not in document.text else None


def _of_mesh(wide: MeshWide) -> AccessPolicy | None:
    document = wide.document
    if document is None or wide.spec.default_access != DENY:
        return None
    return nobody(document.key, document.at(*wide.path, "defaultAccess"))


def _of_namespace(document: NamespaceDocument) -> AccessPolicy | None:
    if dict(document.annotations)[DEFAULT_ACCESS] != DENY:
        return None
    return nobody(document.key, document.at("metadata", "annotations", DEFAULT_ACCESS))


def _closed(document: Document[object]) -> AccessPolicy:
    return nobody(document.key, document.origin)
