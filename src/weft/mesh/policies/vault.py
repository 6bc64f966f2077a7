"""The vault: Secrets, as far as a document may name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.edge import SecretName
from weft.schema.wording import nearest_name

SecretDocument = Document[SecretSpec]
Secrets = tuple[Document[SecretSpec] | Document[Unreadable], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Vault:
    """The Secrets that documents may name; of those that are `closed` it is not known what they hold. Compared by
    identity."""

    secrets: Mapping[ObjectKey, SecretDocument]
    grants: Grants
    closed: frozenset[ObjectKey] = frozenset()

    def find(self, document: Document[object], path: FieldPath, name: SecretName) -> SecretDocument | Problem:
        """A Secret, or why there is none for `document`."""
        key = ObjectKey("", "Secret", name.namespace or document.key.namespace, name.name)
        if not self.grants.allow((document.key.group, document.key.kind), document.key.namespace, key):
            message = f"{key} is in another namespace that does not allow it, so nobody is let in"
            source = f"{document.key.kind} in '{document.key.namespace}'"
            expected = f"a ReferenceGrant in namespace '{key.namespace}' from {source}"
            return problem_at(document, (*path, "namespace"), "reference-not-granted", message, expected)
        if key in self.closed:
            message = f"{key} cannot be read now, so nobody is let in"
            return problem_at(document, (*path, "name"), "secret-unreadable", message, "a Secret that can be read")
        found = self.secrets.get(key)
        if found is None:
            near = nearest_name(key.name, [other.name for other in self.secrets if other.namespace == key.namespace])
            message = f"there is no Secret '{key.name}' in namespace '{key.namespace}', so nobody is let in"
            expected = "the name of a Secret"
            return problem_at(document, (*path, "name"), "unknown-secret", message, expected, nearest=near)
        return found


def build_vault(secrets: Secrets, grants: Grants) -> Vault:
    """All Secrets."""
    readable = {each.key: each for each in secrets if isinstance(each.spec, SecretSpec)}
    return Vault(readable, grants, frozenset([each.key for each in secrets if each.key not in readable]))
