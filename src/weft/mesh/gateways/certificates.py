"""Certificates of gateways: from the Secrets that documents name, or what is wrong with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import problem_at
from weft.mesh.views import Certificate, ClientRoots
from weft.model.document import Document, ObjectKey
from weft.model.key_pairs import CHAIN, KEY, pair_fault
from weft.model.origin import FieldPath
from weft.model.pem import holds_certificates, holds_list
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.gateway import SecretReference
from weft.schema.wording import nearest_name

SecretDocument = Document[SecretSpec] | Document[Unreadable]
Secrets = Mapping[ObjectKey, SecretDocument]
_PAIRS = (("tls.crt", "tls.key"), ("cert", "key"))
_ROOTS = ("ca.crt", "cacert")
_CRLS = ("ca.crl", "crl")
"""Keys of the data of Secrets: those of the type kubernetes.io/tls, and Istio's generic ones."""


def secret_documents(
    readable: Sequence[Document[SecretSpec]], unreadable: Iterable[Document[object]]
) -> tuple[SecretDocument, ...]:
    """All Secrets, with those of the `unreadable` documents: they are there, and what they say is not known."""
    closed = [one for one in unreadable if isinstance(one.spec, Unreadable) and one.key.kind == "Secret"]
    return (*readable, *cast("list[Document[Unreadable]]", closed))


def by_key(secrets: tuple[SecretDocument, ...]) -> Secrets:
    """Secrets by what names them."""
    return MappingProxyType({secret.key: secret for secret in secrets})


def certificate_from_reference(
    memo: Memo,
    document: Document[object],
    path: FieldPath,
    reference: SecretReference,
    secrets: Secrets,
    grants: Grants,
) -> Certificate | Problem:
    """The certificate that a certificateRef of the Gateway API means."""
    if (reference.group, reference.kind) != ("", "Secret"):
        message = f"{reference.kind} of {reference.group or 'the core group'} holds no certificate"
        return problem_at(document, (*path, "kind"), "bad-certificate", message, "kind Secret")
    key = ObjectKey("", "Secret", reference.namespace or document.key.namespace, reference.name)
    owner = document.key
    if not grants.allow((owner.group, owner.kind), owner.namespace, key):
        message = f"{key} is in another namespace that does not allow it"
        expected = f"a ReferenceGrant in namespace '{key.namespace}' from {owner.kind} in '{owner.namespace}'"
        return problem_at(document, (*path, "namespace"), "reference-not-granted", message, expected)
    secret = secrets.get(key)
    if secret is None:
        near = nearest_name(key.name, [other.name for other in secrets if other.namespace == key.namespace])
        message = f"there is no Secret '{key.name}' in namespace '{key.namespace}'"
        return problem_at(document, (*path, "name"), "unknown-secret", message, "the name of a Secret", nearest=near)
    if isinstance(secret.spec, Unreadable):
        return memo(build_certificate, secret)
    if fault := memo(_fault, secret):
        found, expected = fault
        return problem_at(document, path, "bad-certificate", f"{key} {found}", expected)
    return memo(build_certificate, secret)


def _fault(secret: Document[SecretSpec]) -> tuple[str, str] | None:
    """Why a Secret is no server's: what was found, and what is expected."""
    chain, key = secret.spec.data.get(CHAIN), secret.spec.data.get(KEY)
    if not chain or not key:
        return "has no certificate and key", f"data with {CHAIN} and {KEY}"
    fault = pair_fault(chain, key)
    return (f"holds no certificate with its key: {fault[0]}: {fault[1]}", fault[2]) if fault is not None else None


def served_certificate(
    memo: Memo,
    name: str,
    namespace: str,
    secrets: Secrets,
    *,
    own: bool = False,  # noqa: ARG001 - as client_roots
) -> Certificate | str:
    """The certificate of Istio's `credentialName` in a namespace; ``missing``, or what is wrong with the Secret."""
    secret = secrets.get(ObjectKey("", "Secret", namespace, name))
    if secret is None:
        return "missing"
    if not isinstance(secret.spec, Unreadable) and (fault := memo(_pair_fault, secret)):
        return f"{secret.key} {fault}"
    return memo(build_certificate, secret)


def _pair_fault(secret: Document[SecretSpec]) -> str:
    """Why a Secret of either form is no server's: a proxy refuses what it cannot read with all that came beside it."""
    chain, key = _pair(secret.spec)
    if not chain or not key:
        return "has no certificate and key"
    fault = pair_fault(chain, key)
    return f"holds no certificate with its key: {fault[0]}: {fault[1]}" if fault is not None else ""


def _roots_fault(secret: Document[SecretSpec]) -> str:
    """Why nothing in a Secret vouches for clients, though something should."""
    roots, crl = _first(secret.spec, _ROOTS), _first(secret.spec, _CRLS)
    if roots and not holds_certificates(roots):
        return "has authorities that are no certificates in PEM"
    return "has a list of revoked certificates that is none in PEM" if crl and not holds_list(crl) else ""


def client_roots(memo: Memo, name: str, namespace: str, secrets: Secrets, *, own: bool) -> ClientRoots | str:
    """Who vouches for clients: the Secret NAME-cacert, else what NAME says of it (Istio's order). With `own` NAME is
    the Secret that holds the certificate, too."""
    beside = secrets.get(ObjectKey("", "Secret", namespace, f"{name}-cacert")) if own else None
    secret = beside or secrets.get(ObjectKey("", "Secret", namespace, name))
    if secret is None:
        return "missing"
    if not isinstance(secret.spec, Unreadable) and not _first(secret.spec, _ROOTS):
        beside_it = f", nor is there a Secret '{name}-cacert'" if own else ""
        return f"{secret.key} has nothing that vouches for clients{beside_it}"
    if not isinstance(secret.spec, Unreadable) and (fault := memo(_roots_fault, secret)):
        return f"{secret.key} {fault}"
    return memo(build_roots, secret)


def build_roots(secret: SecretDocument) -> ClientRoots:
    """The authorities in a Secret; of one that cannot be read its name alone."""
    name = f"{secret.key.namespace}/{secret.key.name}|clients"
    if isinstance(secret.spec, Unreadable):
        return ClientRoots(name, b"", b"", secret.origin)
    return ClientRoots(name, _first(secret.spec, _ROOTS), _first(secret.spec, _CRLS), secret.origin)


def _pair(spec: SecretSpec) -> tuple[bytes, bytes]:
    """Certificate and key, as both kinds of Secrets have them."""
    found = ((spec.data.get(chain, b""), spec.data.get(key, b"")) for chain, key in _PAIRS)
    return next((pair for pair in found if all(pair)), (b"", b""))


def _first(spec: SecretSpec, keys: tuple[str, ...]) -> bytes:
    return next((spec.data[key] for key in keys if spec.data.get(key)), b"")


def build_certificate(secret: SecretDocument) -> Certificate:
    """The certificate in a Secret; of one that cannot be read its name alone."""
    name = f"{secret.key.namespace}/{secret.key.name}"
    if isinstance(secret.spec, Unreadable):
        return Certificate(name, b"", b"", secret.origin)
    return Certificate(name, *_pair(secret.spec), secret.origin)
