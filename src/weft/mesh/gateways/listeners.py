"""Listeners of a Gateway: which can be in force, their certificates, and which namespaces' routes they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import GATEWAY, Grants
from weft.mesh.policies.selector import Selector, selector_from_api
from weft.mesh.problems import problem_at
from weft.mesh.views import Certificate, TlsVersion
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.schema.findings import printable
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.gateway import (
    GATEWAY_GROUP,
    LISTENER_PROTOCOLS,
    ROUTE_KINDS,
    AllowedRoutes,
    GatewaySpec,
    ListenerSpec,
    RouteGroupKind,
    SecretReference,
)
from weft.schema.wording import nearest_name

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""A label that every namespace has: its name."""
EVERYTHING = Selector()
SecretDocument = Document[SecretSpec]
Secrets = Mapping[ObjectKey, SecretDocument]
_UNSUPPORTED = {
    **{protocol: f"{protocol} is not supported by weft yet" for protocol in ("TLS", "TCP", "UDP")},
    "HBONE": "HBONE is for waypoints of Istio's ambient mode, which weft does not need",
}
"""Protocols of the Gateway API, and of others' Gateways, that are refused for a reason."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which routes may attach to a listener. `kinds` empty: those that its protocol can carry; `namespaces` None: every
    namespace whose labels hold."""

    kinds: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None
    selector: Selector = EVERYTHING

    def admits(self, kind: str, namespace: str, labels: Mapping[str, Labels]) -> bool:
        """Whether a route `kind` of `namespace` may attach; `labels` are those of every declared namespace. A
        VirtualService counts as every kind unless `kinds` is written."""
        if self.kinds and kind not in self.kinds:
            return False
        if self.namespaces is not None:
            return namespace in self.namespaces
        return self.selector.matches({NAMESPACE_LABEL: namespace, **dict(labels.get(namespace, ()))})


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener in force, called `name`. `hostname` is ``*`` when the document gives none."""

    name: str
    port: int
    protocol: Literal["HTTP", "HTTPS"]
    hostname: str
    admission: Admission
    origin: Origin
    certificates: tuple[Certificate, ...] = ()
    lowest_tls: TlsVersion = "1.3"


def build_listeners(
    memo: Memo, document: Document[GatewaySpec], secrets: Secrets, grants: Grants
) -> tuple[tuple[Listener, ...], tuple[Problem, ...]]:
    """The listeners of a Gateway that can be in force, and what is wrong with it. Each bad one is out of force by
    itself. The decoder lets no two have the same port, protocol and hostname."""
    found: list[Listener] = []
    problems: list[Problem] = []
    for index, spec in enumerate(document.spec.listeners):
        path: FieldPath = ("spec", "listeners", index)
        bad = _protocol_problem(document, path, spec)
        certificates, missing = _certificates(memo, document, path, spec, secrets, grants)
        problems += [bad] if bad is not None else [*missing, *_unknown_kinds(document, path, spec)]
        if bad is None and (certificates or spec.protocol != "HTTPS"):
            found.append(_listener(document, path, spec, certificates))
    return tuple(found), tuple(problems)


def _protocol_problem(document: Document[GatewaySpec], path: FieldPath, spec: ListenerSpec) -> Problem | None:
    """Why a listener's protocol keeps it out of force. Of listeners that share a port and cannot, none is in force: the
    API allows no winner."""
    where = (*path, "protocol")
    if spec.protocol not in LISTENER_PROTOCOLS:
        why = _UNSUPPORTED.get(spec.protocol, f"'{printable(spec.protocol[:80])}' is no protocol that weft knows")
        message = f"{why}, so this listener is not in force"
        return problem_at(document, where, "unsupported-protocol", message, " or ".join(LISTENER_PROTOCOLS))
    others = [
        each
        for each in document.spec.listeners
        if each.port == spec.port and each.protocol != spec.protocol and each.protocol in LISTENER_PROTOCOLS
    ]
    if not others:
        return None
    message = f"listener '{others[0].name}' speaks {others[0].protocol} on port {spec.port}, so neither is in force"
    return problem_at(document, where, "protocol-conflict", message, "one protocol per port")


def _unknown_kinds(document: Document[GatewaySpec], path: FieldPath, spec: ListenerSpec) -> Iterator[Problem]:
    for index, item in enumerate(spec.allowed_routes.kinds):
        if not _is_known(item):
            where = (*path, "allowedRoutes", "kinds", index, "kind")
            message = f"{item.kind} of {item.group or 'the core group'} is no kind of route that weft has"
            yield problem_at(document, where, "invalid-route-kind", message, " or ".join(ROUTE_KINDS))


def _is_known(item: RouteGroupKind) -> bool:
    return item.group == GATEWAY_GROUP and item.kind in ROUTE_KINDS


def _listener(
    document: Document[GatewaySpec], path: FieldPath, spec: ListenerSpec, certificates: tuple[Certificate, ...]
) -> Listener:
    return Listener(
        name=spec.name,
        port=spec.port,
        protocol="HTTPS" if spec.protocol == "HTTPS" else "HTTP",
        hostname=spec.hostname.lower() or "*",
        admission=admission_from_api(spec.allowed_routes, document.key.namespace),
        origin=document.at(*path),
        certificates=certificates,
        lowest_tls=spec.tls.options.min_tls_version if spec.tls else "1.3",
    )


def admission_from_api(allowed: AllowedRoutes, namespace: str) -> Admission:
    """What a listener of a Gateway in `namespace` lets in."""
    kinds = tuple(item.kind for item in allowed.kinds if _is_known(item))
    if allowed.kinds and not kinds:
        return Admission(namespaces=())
    match allowed.namespaces.from_:
        case "All":
            return Admission(kinds)
        case "Same":
            return Admission(kinds, (namespace,))
        case _:
            selector = allowed.namespaces.selector
            return Admission(kinds, None if selector else (), selector_from_api(selector) if selector else EVERYTHING)


def _certificates(
    memo: Memo, document: Document[GatewaySpec], path: FieldPath, spec: ListenerSpec, secrets: Secrets, grants: Grants
) -> tuple[tuple[Certificate, ...], list[Problem]]:
    if spec.protocol != "HTTPS":
        return (), []
    references = spec.tls.certificate_refs if spec.tls else ()
    problems: list[Problem] = []
    if not references:
        message = "a listener with protocol HTTPS needs a certificate, so this one is not in force"
        where = (*path, "tls") if spec.tls else path
        problems.append(problem_at(document, where, "no-certificate", message, "tls with certificateRefs"))
    found: list[Certificate] = []
    for place, reference in enumerate(references):
        certificate = _certificate(memo, document, (*path, "tls", "certificateRefs", place), reference, secrets, grants)
        if isinstance(certificate, Problem):
            problems.append(certificate)
        else:
            found.append(certificate)
    return tuple(found), problems


def _certificate(
    memo: Memo,
    document: Document[GatewaySpec],
    path: FieldPath,
    reference: SecretReference,
    secrets: Secrets,
    grants: Grants,
) -> Certificate | Problem:
    if (reference.group, reference.kind) != ("", "Secret"):
        message = f"{reference.kind} of {reference.group or 'the core group'} holds no certificate"
        return problem_at(document, (*path, "kind"), "bad-certificate", message, "kind Secret")
    key = ObjectKey("", "Secret", reference.namespace or document.key.namespace, reference.name)
    if not grants.allow(GATEWAY, document.key.namespace, key):
        message = f"{key} is in another namespace that does not allow it"
        expected = f"a ReferenceGrant in namespace '{key.namespace}' from Gateway in '{document.key.namespace}'"
        return problem_at(document, (*path, "namespace"), "reference-not-granted", message, expected)
    secret = secrets.get(key)
    if secret is None:
        near = nearest_name(key.name, [other.name for other in secrets if other.namespace == key.namespace])
        message = f"there is no Secret '{key.name}' in namespace '{key.namespace}'"
        return problem_at(document, (*path, "name"), "unknown-secret", message, "the name of a Secret", nearest=near)
    if not secret.spec.data.get("tls.crt") or not secret.spec.data.get("tls.key"):
        message = f"{key} has no certificate and key"
        return problem_at(document, path, "bad-certificate", message, "data with tls.crt and tls.key")
    return memo(build_certificate, secret)


def build_certificate(secret: SecretDocument) -> Certificate:
    """The certificate in a Secret."""
    name = f"{secret.key.namespace}/{secret.key.name}"
    return Certificate(name, secret.spec.data["tls.crt"], secret.spec.data["tls.key"], secret.origin)
