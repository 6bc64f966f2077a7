"""Listeners of a Gateway: which can be in force, their certificates, and which namespaces' routes they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import GATEWAY, Grants
from weft.mesh.routes.converted import trouble
from weft.mesh.views import Certificate
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import PathPart
from weft.model.problem import Problem
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewaySpec, LabelSelector, ListenerSpec, SecretReference

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
SecretDocument = Document[SecretSpec]


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener in force. `hostname` is ``*`` when the document gives none."""

    spec: ListenerSpec
    index: int
    hostname: str
    certificates: tuple[Certificate, ...] = ()

    def accepts(self, gateway_namespace: str, namespace: str, kind: str, labels: Mapping[str, Labels]) -> bool:
        """Whether a route `kind` of `namespace` may attach; `labels` are those of every declared namespace. A
        VirtualService counts as every kind unless `kinds` is written."""
        allowed = self.spec.allowed_routes
        if allowed.kinds and not any((item.group, item.kind) == (GATEWAY_GROUP, kind) for item in allowed.kinds):
            return False
        match allowed.namespaces.from_:
            case "All":
                return True
            case "Same":
                return namespace == gateway_namespace
            case _:
                selector = allowed.namespaces.selector
                return selector is not None and selector_matches(
                    selector, {NAMESPACE_LABEL: namespace, **dict(labels.get(namespace, ()))}
                )


def selector_matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector holds for `labels`. The empty selector holds for all."""
    if not set(labels_from_mapping(selector.match_labels)) <= set(labels.items()):
        return False
    for item in selector.match_expressions:
        value = labels.get(item.key)
        holds = {
            "In": value is not None and value in item.values,
            "NotIn": value is None or value not in item.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[item.operator]
        if not holds:
            return False
    return True


def build_listeners(
    memo: Memo,
    document: Document[GatewaySpec],
    secrets: Mapping[tuple[str, str], SecretDocument],
    grants: Grants,
    problems: list[Problem],
) -> tuple[Listener, ...]:
    """The listeners of a Gateway that can be in force. Of two that collide the first one stands."""
    found: list[Listener] = []
    for index, spec in enumerate(document.spec.listeners):
        path: tuple[PathPart, ...] = ("spec", "listeners", index)
        bad = _collision(document, path, spec, found)
        if bad is not None:
            problems.append(bad)
            continue
        certificates: tuple[Certificate, ...] = ()
        if spec.protocol == "HTTPS":
            certificates = _certificates(memo, document, path, spec, secrets, grants, problems)
            if not certificates:
                continue
        found.append(Listener(spec, index, spec.hostname.lower() or "*", certificates))
    return tuple(found)


def _collision(
    document: Document[GatewaySpec], path: tuple[PathPart, ...], spec: ListenerSpec, found: list[Listener]
) -> Problem | None:
    for other in found:
        if other.spec.name == spec.name:
            message = f"a listener called '{spec.name}' stands above"
            return trouble(document, (*path, "name"), "listener-conflict", message, "another name")
        if other.spec.port != spec.port:
            continue
        if other.spec.protocol != spec.protocol:
            message = f"port {spec.port} already speaks {other.spec.protocol} for listener '{other.spec.name}'"
            return trouble(document, (*path, "protocol"), "listener-conflict", message, "one protocol for each port")
        if other.hostname == (spec.hostname.lower() or "*"):
            message = f"listener '{other.spec.name}' already has this port and host"
            return trouble(document, (*path, "hostname"), "listener-conflict", message, "another hostname or port")
    return None


def _certificates(
    memo: Memo,
    document: Document[GatewaySpec],
    path: tuple[PathPart, ...],
    spec: ListenerSpec,
    secrets: Mapping[tuple[str, str], SecretDocument],
    grants: Grants,
    problems: list[Problem],
) -> tuple[Certificate, ...]:
    references = spec.tls.certificate_refs if spec.tls else ()
    if not references:
        problems.append(
            trouble(
                document,
                (*path, "tls"),
                "no-certificate",
                f"HTTPS listener '{spec.name}' has no certificate, so it is not in force",
                "tls.certificateRefs naming a Secret",
            )
        )
    found: list[Certificate] = []
    for place, reference in enumerate(references):
        where = (*path, "tls", "certificateRefs", place)
        certificate = _certificate(memo, document, where, reference, secrets, grants)
        if isinstance(certificate, Problem):
            problems.append(certificate)
        else:
            found.append(certificate)
    return tuple(found)


def _certificate(
    memo: Memo,
    document: Document[GatewaySpec],
    path: tuple[PathPart, ...],
    reference: SecretReference,
    secrets: Mapping[tuple[str, str], SecretDocument],
    grants: Grants,
) -> Certificate | Problem:
    namespace = reference.namespace or document.key.namespace
    what = f"Secret {namespace}/{reference.name}"
    if not grants.allow(GATEWAY, document.key.namespace, "Secret", namespace, reference.name):
        return trouble(
            document,
            (*path, "namespace"),
            "reference-not-granted",
            f"{what} is in another namespace that does not allow it",
            f"a ReferenceGrant in namespace '{namespace}' from Gateway in '{document.key.namespace}'",
        )
    secret = secrets.get((namespace, reference.name))
    if secret is None:
        return trouble(document, (*path, "name"), "unknown-secret", f"there is no {what}", "the name of a Secret")
    if not secret.spec.data.get("tls.crt") or not secret.spec.data.get("tls.key"):
        return trouble(
            document, path, "bad-certificate", f"{what} has no certificate and key", "data with tls.crt and tls.key"
        )
    return memo(build_certificate, secret)


def build_certificate(secret: SecretDocument) -> Certificate:
    """The certificate in a Secret."""
    name = f"{secret.key.namespace}/{secret.key.name}"
    return Certificate(name, secret.spec.data["tls.crt"], secret.spec.data["tls.key"], secret.origin)
