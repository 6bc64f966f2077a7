"""Secrets and ConfigMaps that policies refer to: of clients at the edge, and of servers behind Services."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.policies.credentials import HTPASSWD
from weft.mesh.policies.logins import SECRET_KEY
from weft.mesh.uses import AUTHORITIES, Surroundings, Use
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.schema.kinds.backendtlspolicy import BackendTlsPolicySpec
from weft.schema.kinds.credentialpolicy import CredentialPolicySpec
from weft.schema.kinds.edge import SecretName
from weft.schema.kinds.oidcpolicy import OidcPolicySpec

_USERS, _CLIENT = frozenset((HTPASSWD,)), frozenset((SECRET_KEY,))


def guard_uses(around: Surroundings) -> Iterator[Use]:
    """Keys and passwords of clients, and what providers know gateways by."""
    for policy in around.of(CredentialPolicySpec):
        keys, passwords = policy.spec.api_key, policy.spec.basic_auth
        for index, name in enumerate(keys.secret_refs if keys is not None else ()):
            yield from _of_secret(around, policy, ("spec", "apiKey", "secretRefs", index), name, None)
        if passwords is not None:
            yield from _of_secret(around, policy, ("spec", "basicAuth", "users"), passwords.users, _USERS)
    for login in around.of(OidcPolicySpec):
        yield from _of_secret(around, login, ("spec", "clientSecretRef"), login.spec.client_secret_ref, _CLIENT)


def authority_uses(around: Surroundings) -> Iterator[Use]:
    """Who vouches for servers."""
    for policy in around.of(BackendTlsPolicySpec):
        for index, reference in enumerate(policy.spec.validation.ca_certificate_refs):
            path: FieldPath = ("spec", "validation", "caCertificateRefs", index)
            if (reference.group, reference.kind) == ("", "ConfigMap"):
                key = ObjectKey("", "ConfigMap", policy.key.namespace, reference.name)
                yield Use(key, AUTHORITIES, policy, path)


def _of_secret(
    around: Surroundings,
    document: Document[object],
    path: FieldPath,
    name: SecretName,
    entries: frozenset[str] | None,
) -> Iterator[Use]:
    key = ObjectKey("", "Secret", name.namespace or document.key.namespace, name.name)
    if around.allowed(document, key):
        yield Use(key, entries, document, path)
