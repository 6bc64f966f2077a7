"""Secrets that policies name: there, not there, and there but not readable now."""

from __future__ import annotations

from support.meshdocs import documents
from weft.mesh.policies.referencegrant import build_grants
from weft.mesh.policies.vault import build_vault
from weft.model.document import ObjectKey
from weft.model.problem import Problem
from weft.schema.kinds.edge import SecretName
from weft.sources.kubernetes.entries import unreadable_document

POLICY = """
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: keys}]}
"""


def test_one_that_cannot_be_read_now_is_not_called_missing() -> None:
    [policy] = documents(POLICY)
    closed = unreadable_document(ObjectKey("", "Secret", "default", "keys"))
    vault = build_vault((closed,), build_grants(()))  # type: ignore[arg-type]
    found = vault.find(policy, ("spec", "apiKey", "secretRefs", 0), SecretName(name="keys"))
    assert isinstance(found, Problem)
    assert (found.code, found.message) == (
        "secret-unreadable",
        "Secret default/keys cannot be read now, so nobody is let in",
    )
    missing = vault.find(policy, ("spec",), SecretName(name="others"))
    assert isinstance(missing, Problem)
    assert missing.code == "unknown-secret"
