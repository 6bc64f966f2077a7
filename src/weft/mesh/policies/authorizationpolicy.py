"""AuthorizationPolicy: documents as access policies, and where they hold.

A document that cannot be understood closes what it names (ADR 0028), and so does one that asks a provider that is not
there. https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from weft.mesh.access.attachment import Attached, Attachment
from weft.mesh.access.policy import (
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Closed,
    Condition,
    Conditions,
    Pattern,
    PatternKind,
)
from weft.mesh.policies.scope import Scope
from weft.mesh.problems import one_of, problem_at
from weft.model.document import Document
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.schema.kinds.authorizationpolicy import (
    DRY_RUN,
    AccessRuleSpec,
    AuthorizationPolicySpec,
    Operation,
    PolicyTargetReference,
    Source,
    Texts,
    When,
)
from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.rules.authorizationpolicy import CLAIM_KEY, HEADER_KEY
from weft.schema.wording import nearest_name

CLOSING = ("AuthorizationPolicy", "TrafficTarget")
"""Kinds whose documents close what they name if they cannot be understood, because they say who may call."""
AccessSpec = AuthorizationPolicySpec | Unreadable
AccessDocument = Document[AccessSpec]
TARGET_KINDS = ("Gateway", "GatewayClass", "Service")
LOCAL = DEFAULT_TRUST_DOMAIN
"""Stands for the mesh's own trust domain in principals, whatever its name is."""
_KEYS = {
    "source.ip": Attribute.SOURCE_IP,
    "remote.ip": Attribute.REMOTE_IP,
    "source.namespace": Attribute.NAMESPACE,
    "source.principal": Attribute.PRINCIPAL,
    "source.serviceAccount": Attribute.SERVICE_ACCOUNT,
    "request.auth.principal": Attribute.REQUEST_PRINCIPAL,
    "request.auth.audiences": Attribute.AUDIENCE,
    "request.auth.presenter": Attribute.PRESENTER,
    "destination.ip": Attribute.DESTINATION_IP,
    "destination.port": Attribute.PORT,
    "connection.sni": Attribute.SNI,
}


def access_documents(documents: Iterable[Document[object]]) -> tuple[AccessDocument, ...]:
    """Those of this kind, and those of any that says who may call and cannot be understood."""
    return tuple(document for document in documents if _is_ours(document))


def _is_ours(document: Document[object]) -> TypeGuard[AccessDocument]:
    spec = document.spec
    return isinstance(spec, AuthorizationPolicySpec) or (isinstance(spec, Unreadable) and spec.kind in CLOSING)


def attach_document(
    document: AccessDocument, root_namespace: str, trust_domain: str, providers: tuple[str, ...]
) -> Attached:
    """The policy of a document where it holds. `providers` are the names of those that can be asked."""
    spec = document.spec
    if isinstance(spec, Unreadable):
        return close_unreadable(document, spec, root_namespace)
    problems = list(_dry_run_problems(document, spec))
    policy: AccessPolicy | Closed = build_policy(document, spec, trust_domain)
    if isinstance(policy, AccessPolicy) and policy.action is Action.CUSTOM and not policy.dry_run:
        unknown = _unknown_provider(document, policy.provider, providers)
        if unknown is not None:
            problems.append(unknown)
            policy = Closed(document.at("spec", "provider"), unknown.message, document.key)
    scopes, misplaced = policy_scopes(document, spec, root_namespace)
    return Attached(tuple(Attachment(scope, policy) for scope in scopes), (*problems, *misplaced))


def close_unreadable(document: Document[object], spec: Unreadable, root_namespace: str) -> Attached:
    """What a document of any security kind closes that cannot be understood: what it names, or its whole namespace."""
    namespace, everywhere = document.key.namespace, document.key.namespace == root_namespace
    readable = spec.scoped and all(target.kind in TARGET_KINDS for target in spec.targets)
    if readable and spec.targets:
        scopes = [
            scope for each in spec.targets if (scope := _target_scope(each.kind, each.name, namespace, everywhere))
        ]
        whom = "what it names"
    else:
        selector = spec.selector if readable else ()
        scopes = [Scope("" if everywhere else namespace, selector)]
        whom = (
            "the workloads it selects"
            if selector
            else f"all workloads of {'the mesh' if everywhere else 'its namespace'}"
        )
    message = f"it cannot be understood, so nobody may call {whom} until it is mended"
    closed = Closed(document.origin, message, document.key)
    expected = "a document without the errors told about it"
    problem = problem_at(document, (), "policy-unreadable", message, expected)
    return Attached(tuple(Attachment(scope, closed) for scope in scopes), (problem,))


def _target_scope(kind: str, name: str, namespace: str, everywhere: bool) -> Scope | None:
    """A target as a scope. A class of gateways is the whole mesh's: None elsewhere."""
    if kind == "GatewayClass":
        return Scope("", target=f"GatewayClass {name}") if everywhere else None
    return Scope(namespace, target=f"{kind} {namespace}/{name}")


class Targeting(Protocol):
    """The spec of a document that is for workloads, or for what it names."""

    @property
    def selector(self) -> WorkloadSelector | None:
        """The workloads."""

    @property
    def target_ref(self) -> PolicyTargetReference | None:
        """What it names, in an older form."""

    @property
    def target_refs(self) -> tuple[PolicyTargetReference, ...]:
        """What it names."""


def named_targets(document: Document[Targeting | Unreadable]) -> list[tuple[FieldPath, str, str]]:
    """Where each target of a document stands, its kind and its name."""
    spec = document.spec
    if isinstance(spec, Unreadable):
        return []
    targets: list[tuple[FieldPath, str, str]] = [
        (("spec", "targetRefs", index), each.kind, each.name) for index, each in enumerate(spec.target_refs)
    ]
    if spec.target_ref is not None:
        targets.append((("spec", "targetRef"), spec.target_ref.kind, spec.target_ref.name))
    return targets


def policy_scopes(
    document: Document[Targeting | Unreadable], spec: Targeting, root_namespace: str
) -> tuple[list[Scope], list[Problem]]:
    """Where a document of a security kind holds, and what is wrong with what it names."""
    namespace, everywhere = document.key.namespace, document.key.namespace == root_namespace
    targets = named_targets(document)
    if not targets:
        labels: Labels = labels_from_mapping(spec.selector.match_labels) if spec.selector else ()
        return [Scope("" if everywhere else namespace, labels)], []
    scopes: list[Scope] = []
    problems: list[Problem] = []
    for path, kind, name in targets:
        scope = _target_scope(kind, name, namespace, everywhere)
        if scope is not None:
            scopes.append(scope)
        else:
            message = "a GatewayClass is the whole mesh's, so this is not in force"
            expected = f"namespace {root_namespace}"
            problems.append(problem_at(document, (*path, "kind"), "misplaced-policy", message, expected))
    return scopes, problems


def _unknown_provider(document: AccessDocument, name: str, providers: tuple[str, ...]) -> Problem | None:
    if name in providers:
        return None
    message = f"there is no provider '{name}' that can be asked, so nobody may call until there is"
    expected = one_of(providers, "an extensionProvider of the MeshConfig that is asked whether a call may pass")
    near = nearest_name(name, providers)
    return problem_at(document, ("spec", "provider", "name"), "unknown-provider", message, expected, nearest=near)


def _dry_run_problems(document: AccessDocument, spec: AuthorizationPolicySpec) -> Iterator[Problem]:
    text = dict(document.annotations).get(DRY_RUN)
    path: FieldPath = ("metadata", "annotations", DRY_RUN)
    if text is not None and text not in ("true", "false"):
        message = f"found '{text[:80]}', so the policy is in force"
        yield problem_at(document, path, "bad-value", message, "'true' or 'false'")
    elif text == "true" and spec.action == "CUSTOM":
        message = "nobody is asked in a dry run, so this does nothing"
        yield problem_at(document, path, "no-effect", message, severity=Severity.WARNING)


def build_policy(document: AccessDocument, spec: AuthorizationPolicySpec, trust_domain: str) -> AccessPolicy:
    """The policy that a document states."""
    make = _Maker(document.key.namespace, trust_domain)
    return AccessPolicy(
        object=document.key,
        origin=document.origin,
        action=Action(spec.action),
        rules=tuple(
            AccessRule(
                number=number,
                origin=document.at("spec", "rules", number),
                sources=tuple(make.source(each.source) for each in rule.from_),
                operations=tuple(make.operation(each.operation) for each in rule.to),
                when=make.when(rule),
            )
            for number, rule in enumerate(spec.rules)
        ),
        dry_run=dict(document.annotations).get(DRY_RUN) == "true",
        provider=spec.provider.name if spec.provider else "",
    )


Reader = Callable[[str], Pattern]


def text_pattern(text: str) -> Pattern:
    """``*``, ``beginning*``, ``*end``, or a text as it is."""
    if text == "*":
        return Pattern(PatternKind.PRESENT)
    if text.endswith("*"):
        return Pattern(PatternKind.PREFIX, text[:-1])
    return Pattern(PatternKind.SUFFIX, text[1:]) if text.startswith("*") else Pattern(PatternKind.EXACT, text)


def path_pattern(text: str) -> Pattern:
    """A path, perhaps with ``{*}`` and ``{**}``."""
    return Pattern(PatternKind.TEMPLATE, text) if "{" in text else text_pattern(text)


def _network(text: str) -> Pattern:
    return Pattern(PatternKind.NETWORK, str(ipaddress.ip_network(text, strict=False)))


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes conditions of a document's fields. Names are those of `namespace`, the mesh has `trust_domain`."""

    namespace: str
    trust_domain: str

    def source(self, spec: Source) -> Conditions:
        """All that is asked of a caller."""
        fields: tuple[tuple[Attribute, Texts, Texts], ...] = (
            (Attribute.PRINCIPAL, spec.principals, spec.not_principals),
            (Attribute.REQUEST_PRINCIPAL, spec.request_principals, spec.not_request_principals),
            (Attribute.NAMESPACE, spec.namespaces, spec.not_namespaces),
            (Attribute.SERVICE_ACCOUNT, spec.service_accounts, spec.not_service_accounts),
            (Attribute.TRUST_DOMAIN, spec.trust_domains, spec.not_trust_domains),
            (Attribute.SOURCE_IP, spec.ip_blocks, spec.not_ip_blocks),
            (Attribute.REMOTE_IP, spec.remote_ip_blocks, spec.not_remote_ip_blocks),
        )
        return tuple(each for field in fields for each in self._conditions(*field))

    def operation(self, spec: Operation) -> Conditions:
        """All that is asked of what is called."""
        fields: tuple[tuple[Attribute, Texts, Texts], ...] = (
            (Attribute.HOST, spec.hosts, spec.not_hosts),
            (Attribute.PORT, spec.ports, spec.not_ports),
            (Attribute.METHOD, spec.methods, spec.not_methods),
            (Attribute.PATH, spec.paths, spec.not_paths),
        )
        return tuple(each for field in fields for each in self._conditions(*field))

    def when(self, rule: AccessRuleSpec) -> Conditions:
        """All further conditions."""
        return tuple(each for spec in rule.when for each in self._when(spec))

    def _when(self, spec: When) -> Iterator[Condition]:
        header, claim = HEADER_KEY.fullmatch(spec.key), CLAIM_KEY.fullmatch(spec.key)
        if header is not None:
            yield from self._conditions(Attribute.HEADER, spec.values, spec.not_values, (header[1].lower(),))
        elif claim is not None:
            key = tuple(claim[1][1:-1].split("]["))
            yield from self._conditions(Attribute.CLAIM, spec.values, spec.not_values, key)
        else:
            yield from self._conditions(_KEYS[spec.key], spec.values, spec.not_values)

    def _conditions(
        self, attribute: Attribute, values: Texts, unwanted: Texts, key: tuple[str, ...] = ()
    ) -> Iterator[Condition]:
        for texts, negated in ((values, False), (unwanted, True)):
            if texts:
                yield Condition(attribute, tuple(self._pattern(attribute, text) for text in texts), negated, key)

    def _pattern(self, attribute: Attribute, text: str) -> Pattern:
        if attribute in (Attribute.SOURCE_IP, Attribute.REMOTE_IP, Attribute.DESTINATION_IP):
            return _network(text)
        if attribute is Attribute.SERVICE_ACCOUNT:
            return Pattern(PatternKind.EXACT, text if "/" in text else f"{self.namespace}/{text}")
        if attribute is Attribute.PATH:
            return path_pattern(text)
        if attribute in (Attribute.PRINCIPAL, Attribute.TRUST_DOMAIN):
            return text_pattern(self._own(text))
        return text_pattern(text)

    def _own(self, text: str) -> str:
        """A principal or trust domain, where `LOCAL` stands for the mesh's own."""
        domain, slash, rest = text.partition("/")
        return f"{self.trust_domain}{slash}{rest}" if domain == LOCAL else text
