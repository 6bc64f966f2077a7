"""BackendTLSPolicy: TLS with the servers behind a Service, or behind one of its ports.

https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/

Of two policies for one target the oldest is in force, and one for a port comes before one for the whole Service. A
policy of which no authority can be read closes what it is for: connections fail, as the specification asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.acceptance import Condition
from weft.mesh.routes.status import conditions_mapping
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_service
from weft.mesh.services.service import CertificateName, NameKind, Tls
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath, Origin
from weft.model.pem import holds_certificates
from weft.model.problem import Problem
from weft.schema.kinds import backendtlspolicy as api
from weft.schema.kinds.gateway import CONTROLLER_NAME
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.kinds.xbackendtrafficpolicy import ServiceTarget, XBackendTrafficPolicySpec
from weft.schema.wording import nearest_name

PolicyDocument = Document[api.BackendTlsPolicySpec]
ConfigMaps = Mapping[ObjectKey, Document[ConfigMapSpec]]
Section = tuple[str, str]
"""The full name of a service and the name of a port, empty for all others."""
_CONFLICT = "policy-conflict"
_TARGETS: FieldPath = ("spec", "targetRefs")
_UNRESOLVED = {"unknown-authority": "InvalidCACertificateRef", "bad-authority-kind": "InvalidKind"}
_REFUSED = {
    _CONFLICT: "Conflicted",
    "no-authority": "NoValidCACertificate",
    "unknown-service": "TargetNotFound",
    "unknown-section": "TargetNotFound",
}
"""The reasons of conditions, by the code of the Problem."""


@dataclass(frozen=True, slots=True, eq=False)
class BackendTlsPolicies:
    """The policies in force, by service and port; `origins` say where. Compared by identity."""

    by_section: Mapping[Section, Tls] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[Section, Origin] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()


NO_TLS_POLICIES = BackendTlsPolicies()


def build_backend_tls_policies(
    documents: tuple[PolicyDocument, ...], config_maps: tuple[Document[ConfigMapSpec], ...], catalog: Catalog
) -> BackendTlsPolicies:
    """What each policy comes to for its targets."""
    by_key = {document.key: document for document in config_maps}
    given: list[Policy[api.BackendTlsPolicySpec]] = []
    problems: list[Problem] = []
    for document in documents:
        problems += _unknown_targets(document, catalog)
        given += [Policy(_scope(document, target), document) for target in document.spec.target_refs]
    expected = "one BackendTLSPolicy for each Service or port"
    settled, conflicts = settle(given, ("spec", "targetRefs"), _CONFLICT, expected)
    found: dict[ObjectKey, Tls] = {}
    for document in documents:
        tls, wrong = _compile(document, by_key)
        found[document.key] = tls
        problems += wrong
    sections = {_section(policy.scope, catalog): policy.document for policy in settled}
    return BackendTlsPolicies(
        MappingProxyType({section: found[document.key] for section, document in sections.items()}),
        MappingProxyType({section: document.origin for section, document in sections.items()}),
        (*conflicts, *problems),
    )


def _scope(document: PolicyDocument, target: api.BackendTarget) -> Scope:
    return Scope(document.key.namespace, target=f"Service {target.name}{_port(target.section_name)}")


def _port(section: str | None) -> str:
    return f" port {section}" if section else ""


def _section(scope: Scope, catalog: Catalog) -> Section:
    name, _, port = scope.target.removeprefix("Service ").partition(" port ")
    frontend = catalog.named(name, scope.namespace)
    return (frontend.host if frontend is not None else "", port)


def _unknown_targets(document: PolicyDocument, catalog: Catalog) -> Iterator[Problem]:
    namespace = document.key.namespace
    for index, target in enumerate(document.spec.target_refs):
        path: FieldPath = ("spec", "targetRefs", index)
        frontend = catalog.named(target.name, namespace)
        if frontend is None:
            near = nearest_name(target.name, catalog.names_in(namespace))
            yield unknown_service(document, (*path, "name"), target.name, namespace, near)
        elif target.section_name and target.section_name not in [port.name for port in frontend.ports]:
            names = [port.name for port in frontend.ports if port.name]
            message = f"{frontend.key} has no port called '{target.section_name}'"
            near = nearest_name(target.section_name, names)
            expected = one_of(names, "a Service whose ports have names")
            yield problem_at(document, (*path, "sectionName"), "unknown-section", message, expected, nearest=near)


def _compile(document: PolicyDocument, config_maps: ConfigMaps) -> tuple[Tls, list[Problem]]:
    spec = document.spec.validation
    names = tuple(_name(each) for each in spec.subject_alt_names) or (CertificateName(NameKind.DNS, spec.hostname),)
    problems: list[Problem] = []
    authorities: list[bytes] = []
    path: FieldPath = ("spec", "validation", "caCertificateRefs")
    for index, reference in enumerate(spec.ca_certificate_refs):
        given = _authority(document, (*path, index), reference, config_maps)
        if isinstance(given, Problem):
            problems.append(given)
        else:
            authorities.append(given)
    unusable = bool(spec.ca_certificate_refs) and not authorities
    if unusable:
        message = "no authority can be read, so nobody is believed and every call fails"
        problems.append(problem_at(document, path, "no-authority", message, "a ConfigMap with ca.crt"))
    tls = Tls(
        sni=spec.hostname,
        names=names,
        authorities=b"\n".join(authorities),
        unusable=unusable,
        lowest=document.spec.options.min_tls_version,
    )
    return tls, problems


def _authority(
    document: PolicyDocument, path: FieldPath, reference: api.AuthorityReference, config_maps: ConfigMaps
) -> bytes | Problem:
    if (reference.group, reference.kind) != ("", "ConfigMap"):
        message = f"{reference.kind} of {reference.group or 'the core group'} holds no authorities"
        return problem_at(document, (*path, "kind"), "bad-authority-kind", message, "kind ConfigMap of group ''")
    key = ObjectKey("", "ConfigMap", document.key.namespace, reference.name)
    found = config_maps.get(key)
    content = found.spec.data.ca_crt.encode() if found is not None else b""
    if holds_certificates(content):
        return content
    what = "has no certificates in PEM under ca.crt" if content else "is not there, or has no ca.crt"
    near = nearest_name(key.name, [each.name for each in config_maps if each.namespace == key.namespace])
    message = f"{key} {what}"
    nearest = near if near != key.name else ""
    return problem_at(
        document, (*path, "name"), "unknown-authority", message, "a ConfigMap with ca.crt", nearest=nearest
    )


def _name(name: api.SubjectAltName) -> CertificateName:
    if name.type == "URI":
        return CertificateName(NameKind.URI, name.uri or "")
    return CertificateName(NameKind.DNS, name.hostname or "")


def ancestors_of(
    document: Document[api.BackendTlsPolicySpec] | Document[XBackendTrafficPolicySpec],
    problems: Sequence[Problem],
    gateways: Mapping[ObjectKey, Sequence[ObjectKey]] = MappingProxyType({}),
) -> list[dict[str, object]]:
    """``status.ancestors`` of a policy with these problems: the Gateways that send to what it is for (`gateways`, by
    Service), which the API wants to hear of, then its targets, for which proxies of workloads follow it."""
    found: list[dict[str, object]] = []
    targets: tuple[api.BackendTarget | ServiceTarget, ...] = document.spec.target_refs
    reached: dict[ObjectKey, list[int]] = {}
    for index, target in enumerate(targets):
        for gateway in gateways.get(ObjectKey("", "Service", document.key.namespace, target.name), ()):
            reached.setdefault(gateway, []).append(index)
    for gateway, places in reached.items():
        named = {"group": gateway.group, "kind": gateway.kind, "namespace": gateway.namespace, "name": gateway.name}
        found.append(_ancestor(named, problems, places))
    for index, target in enumerate(targets):
        named = {"group": "", "kind": "Service", "namespace": document.key.namespace, "name": target.name}
        section = target.section_name if isinstance(target, api.BackendTarget) else None
        found.append(_ancestor(named | ({"sectionName": section} if section else {}), problems, [index]))
    return found


def _ancestor(reference: dict[str, str], problems: Sequence[Problem], targets: Sequence[int]) -> dict[str, object]:
    """What is said of the targets of these indices."""
    about = {(), *((index,) for index in targets)}
    own = [each for each in problems if each.path[:2] != _TARGETS or each.path[2:3] in about]
    conditions = conditions_mapping(policy_conditions(tuple(own)))
    return {"ancestorRef": reference, "controllerName": CONTROLLER_NAME, "conditions": conditions}


def policy_conditions(problems: tuple[Problem, ...]) -> tuple[Condition, ...]:
    """The conditions of a policy with these problems (https://gateway-api.sigs.k8s.io/geps/gep-1897/)."""
    accepted = Condition("Accepted", True, "Accepted")
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    for problem in problems:
        if problem.code in _REFUSED:
            accepted = Condition("Accepted", False, _REFUSED[problem.code], problem.message)
        if problem.code in _UNRESOLVED:
            resolved = Condition("ResolvedRefs", False, _UNRESOLVED[problem.code], problem.message)
    return accepted, resolved
