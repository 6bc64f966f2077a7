"""Clients of the Gateway API's Gateways: what is asked of their certificates on each port, and who vouches for them.

https://gateway-api.sigs.k8s.io/geps/gep-91/
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from weft.mesh.gateways.certificates import Secrets, client_roots
from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import GATEWAY, Grants
from weft.mesh.problems import problem_at
from weft.mesh.views import ClientCheck, ClientRoots
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.pem import holds_certificates
from weft.model.problem import Problem
from weft.schema.kinds.gateway import AuthorityReference, FrontendValidation, GatewaySpec, SecretReference
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.wording import nearest_name

ConfigMaps = Mapping[ObjectKey, Document[ConfigMapSpec]]
Clients = tuple[ClientCheck, ClientRoots]


def config_maps_by_key(documents: tuple[Document[ConfigMapSpec], ...]) -> ConfigMaps:
    """ConfigMaps by what names them."""
    return MappingProxyType({document.key: document for document in documents})


def clients_of_port(
    document: Document[GatewaySpec], port: int, config_maps: ConfigMaps, grants: Grants
) -> tuple[Clients | None, list[Problem], bool]:
    """What is asked of clients on a port, what is wrong with that, and whether anything is asked at all."""
    asked = validation_of_port(document, port)
    if asked is None:
        return None, [], False
    path, validation = asked
    where = str(port) if "perPort" in path else "default"
    name = f"{document.key.namespace}/{document.key.name}|clients|{where}"
    found, problems = _roots(document, path, validation, config_maps, grants)
    if not found:
        return None, problems, True
    lenient = validation.mode == "AllowInsecureFallback"
    check = ClientCheck(name, required=not lenient, lenient=lenient)
    return (check, ClientRoots(name, b"\n".join(found), b"", document.at(*path))), problems, True


def validation_of_port(document: Document[GatewaySpec], port: int) -> tuple[FieldPath, FrontendValidation] | None:
    """What a Gateway says of the certificates of clients on a port, and where it says so; None if nothing."""
    frontend = document.spec.tls.frontend if document.spec.tls is not None else None
    if frontend is None:
        return None
    path: FieldPath = ("spec", "tls", "frontend", "default", "validation")
    validation = frontend.default.validation
    for index, each in enumerate(frontend.per_port):
        if each.port == port:
            validation = each.tls.validation
            path = ("spec", "tls", "frontend", "perPort", index, "tls", "validation")
    return (path, validation) if validation is not None else None


def is_lenient(spec: GatewaySpec) -> bool:
    """Whether clients whose certificates nobody vouches for get in at any port (AllowInsecureFallback)."""
    frontend = spec.tls.frontend if spec.tls is not None else None
    if frontend is None:
        return False
    asked = (frontend.default.validation, *(each.tls.validation for each in frontend.per_port))
    return any(each is not None and each.mode == "AllowInsecureFallback" for each in asked)


def clients_of_secret(
    memo: Memo,
    document: Document[object],
    path: FieldPath,
    reference: SecretReference,
    secrets: Secrets,
    grants: Grants,
) -> Clients | Problem:
    """What is asked of clients where Istio's option at `path` says MUTUAL: that the Secret of the certificate, or the
    one that stands beside it (with a grant of its own where it is in another namespace), vouches for them."""
    owner, namespace = document.key, reference.namespace or document.key.namespace
    beside = ObjectKey("", "Secret", namespace, f"{reference.name}-cacert")
    own = grants.allow((owner.group, owner.kind), owner.namespace, beside)
    found = client_roots(memo, reference.name, namespace, secrets, own=own)
    if isinstance(found, str):
        what = f"there is no Secret '{reference.name}' in namespace '{namespace}'" if found == "missing" else found
        message = f"{what}, so this listener is not in force"
        expected = f"ca.crt in the Secret '{reference.name}', or a Secret '{reference.name}-cacert' with it"
        return problem_at(document, path, "no-client-authority", message, expected)
    return ClientCheck(found.name, unsent=not found.roots), found


def _roots(
    document: Document[GatewaySpec],
    path: FieldPath,
    validation: FrontendValidation,
    config_maps: ConfigMaps,
    grants: Grants,
) -> tuple[list[bytes], list[Problem]]:
    found: list[bytes] = []
    problems: list[Problem] = []
    for index, reference in enumerate(validation.ca_certificate_refs):
        one = _root(document, (*path, "caCertificateRefs", index), reference, config_maps, grants)
        if isinstance(one, Problem):
            problems.append(one)
        else:
            found.append(one)
    return found, problems


def _root(
    document: Document[GatewaySpec],
    path: FieldPath,
    reference: AuthorityReference,
    config_maps: ConfigMaps,
    grants: Grants,
) -> bytes | Problem:
    if (reference.group, reference.kind) != ("", "ConfigMap"):
        message = f"{reference.kind} of {reference.group or 'the core group'} holds no authorities"
        return problem_at(document, (*path, "kind"), "bad-authority-kind", message, "kind ConfigMap of group ''")
    key = ObjectKey("", "ConfigMap", reference.namespace or document.key.namespace, reference.name)
    if not grants.allow(GATEWAY, document.key.namespace, key):
        message = f"{key} is in another namespace that does not allow it"
        expected = f"a ReferenceGrant in namespace '{key.namespace}' from Gateway in '{document.key.namespace}'"
        return problem_at(document, (*path, "namespace"), "reference-not-granted", message, expected)
    there = config_maps.get(key)
    content = there.spec.data.ca_crt.encode() if there is not None else b""
    if holds_certificates(content):
        return content
    what = "has no certificates in PEM under ca.crt" if content else "is not there, or has no ca.crt"
    near = nearest_name(key.name, [each.name for each in config_maps if each.namespace == key.namespace])
    nearest = near if near != key.name else ""
    message = f"{key} {what}"
    return problem_at(
        document, (*path, "name"), "unknown-authority", message, "a ConfigMap with ca.crt", nearest=nearest
    )
