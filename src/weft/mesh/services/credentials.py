"""Credentials: what proxies show to servers outside the mesh and whom they believe there, from Secrets by name.

A DestinationRule names a Secret without a namespace, and each proxy is given that of its own. So clusters are the same
for all callers, and no proxy is sent a key of another namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.policies.destinationrule import Chosen, RuleDocument
from weft.mesh.problems import problem_at
from weft.mesh.services.exports import exports_of, is_exported
from weft.mesh.services.service import Tls
from weft.mesh.views import Credential, TargetsView
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath, Origin
from weft.model.pem import holds_certificates, holds_list, key_fits
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.schema.kinds import destinationrule as api
from weft.schema.kinds.core import SecretSpec
from weft.schema.wording import nearest_name

SecretDocument = Document[SecretSpec] | Document[Unreadable]
SUFFIX = "-cacert"
"""Of the name of a Secret that has only the authorities, as Istio calls it."""


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """The credentials that documents name, by namespace and name. Compared by identity; false without any."""

    by_name: Mapping[tuple[str, str], Credential] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.by_name)


NO_CREDENTIALS = Credentials()


def build_credentials(
    secrets: tuple[SecretDocument, ...],
    rules: tuple[RuleDocument, ...],
    gateways: tuple[str, ...] | None = None,
    exports: tuple[str, ...] = (),
) -> Credentials:
    """The credentials that DestinationRules name, and what is wrong with their TLS.

    Where Secrets are there only as they are needed, `gateways` are the namespaces of gateways, and `exports` say which
    of them are told of rules that do not say it: a rule that nobody needs has no Secret to miss.
    """
    names = names_of(rules)
    by_key = {secret.key: secret.spec for secret in secrets if isinstance(secret.spec, SecretSpec)}
    found = {}
    for secret in secrets:
        name = secret.key.name.removesuffix(SUFFIX)
        place = (secret.key.namespace, name)
        if name in names and place not in found:
            if isinstance(secret.spec, Unreadable):
                found[place] = Credential(name, b"", b"", b"", b"", secret.origin)
                continue
            own = by_key.get(ObjectKey("", "Secret", *place))
            others = by_key.get(ObjectKey("", "Secret", place[0], name + SUFFIX))
            found[place] = _credential(secret, name, own, others or own)
    closed = {secret.origin for secret in secrets if isinstance(secret.spec, Unreadable)}
    idle = {id(rule) for rule in rules if gateways is not None and not callers_of(rule, gateways, exports)}
    problems = [problem for rule in rules for problem in _problems(rule, found, closed, idle=id(rule) in idle)]
    return Credentials(MappingProxyType(found), tuple(problems))


def _credential(secret: SecretDocument, name: str, own: SecretSpec | None, others: SecretSpec | None) -> Credential:
    chain, key = (_either(own, "tls.crt", "cert"), _either(own, "tls.key", "key"))
    complete = key_fits(chain, key)
    authorities, crl = _either(others, "ca.crt", "cacert"), _either(others, "ca.crl", "crl")
    readable = holds_certificates(authorities) and (not crl or holds_list(crl))
    return Credential(
        name=name,
        chain=chain if complete else b"",
        key=key if complete else b"",
        authorities=authorities if readable else b"",
        crl=crl if readable else b"",
        origin=secret.origin,
    )


def _either(secret: SecretSpec | None, *keys: str) -> bytes:
    """The first that is there."""
    data: Mapping[str, bytes] = secret.data if secret is not None else {}
    return next((data[key] for key in keys if data.get(key)), b"")


def tls_settings(rule: RuleDocument) -> Iterator[tuple[FieldPath, api.ClientTls]]:
    """Every `tls` of a DestinationRule, and where it stands."""
    spec = rule.spec
    policies: list[tuple[FieldPath, api.TrafficPolicy | None]] = [(("spec", "trafficPolicy"), spec.traffic_policy)]
    for index, subset in enumerate(spec.subsets):
        policies.append((("spec", "subsets", index, "trafficPolicy"), subset.traffic_policy))
    for path, policy in policies:
        if policy is None:
            continue
        if policy.tls is not None:
            yield (*path, "tls"), policy.tls
        for index, each in enumerate(policy.port_level_settings):
            if each.tls is not None:
                yield (*path, "portLevelSettings", index, "tls"), each.tls


def going_outside(rules: tuple[RuleDocument, ...]) -> tuple[RuleDocument, ...]:
    """Those that have TLS with servers outside."""
    return tuple([rule for rule in rules if any(tls.mode in ("SIMPLE", "MUTUAL") for _, tls in tls_settings(rule))])


def names_of(rules: Iterable[RuleDocument]) -> tuple[str, ...]:
    """The credentials that DestinationRules name, sorted."""
    return tuple(
        sorted({tls.credential_name for rule in rules for _, tls in tls_settings(rule) if tls.credential_name})
    )


def names_of_rules(chosen: Chosen) -> tuple[str, ...]:
    """The credentials that the DestinationRules name which select a workload."""
    return names_of([policy.document for policy in chosen])


def names_of_targets(view: TargetsView) -> tuple[str, ...]:
    """The credentials that a proxy's backends need, sorted. For those that are given no more backends than they use."""
    transports = [target.backend.transport for target in view.own]
    return tuple(sorted({each.credential for each in transports if isinstance(each, Tls) and each.credential}))


def credentials_of(credentials: Credentials, namespace: str, names: tuple[str, ...]) -> tuple[Credential, ...]:
    """Those of a namespace with these names; the ones that are not there are not sent."""
    found = (credentials.by_name.get((namespace, name)) for name in names)
    return tuple([credential for credential in found if credential is not None])


def callers_of(rule: RuleDocument, gateways: Iterable[str], exports: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces of the proxies that are given what a rule names: its own where it selects workloads, else those of
    gateways that are told of it."""
    if rule.spec.workload_selector is not None:
        return (rule.key.namespace,)
    told = exports_of(rule.spec.export_to, rule.key.namespace, exports)
    return tuple(sorted({namespace for namespace in gateways if is_exported(told, namespace)}))


def _problems(
    rule: RuleDocument, found: Mapping[tuple[str, str], Credential], closed: set[Origin], *, idle: bool
) -> Iterator[Problem]:
    """A Secret that is nowhere where a caller could have it, and one that lacks what is needed of it."""
    selector = rule.spec.workload_selector
    where = rule.key.namespace if selector is not None else ""
    for path, tls in tls_settings(rule):
        yield from _unverified(rule, path, tls)
        if not tls.credential_name:
            continue
        at = (*path, "credentialName")
        given = [
            each
            for (namespace, name), each in sorted(found.items())
            if name == tls.credential_name and where in ("", namespace)
        ]
        if not given and not idle:
            known = {name for namespace, name in found if where in ("", namespace)}
            near = nearest_name(tls.credential_name, sorted(known))
            place = f" in namespace '{where}'" if where else ""
            message = f"there is no Secret '{tls.credential_name}'{place}"
            expected = "a Secret in the namespace of the proxies that call"
            yield problem_at(rule, at, "unknown-secret", message, expected, nearest=near)
        for credential in given:
            if credential.origin not in closed and (lacks := _lacks(credential, tls)):
                yield problem_at(
                    rule, at, "incomplete-credential", f"{credential.origin}: the Secret has no {lacks}", lacks
                )


def _unverified(rule: RuleDocument, path: FieldPath, tls: api.ClientTls) -> Iterator[Problem]:
    """A server that is believed whatever its name is, though nobody said so."""
    if tls.credential_name and tls.sni and not tls.subject_alt_names and not tls.insecure_skip_verify:
        message = f"the certificate may have any name that the authorities of '{tls.credential_name}' vouch for"
        where = (*path, "sni")
        yield problem_at(rule, where, "unverified-server", message, "subjectAltNames", severity=Severity.WARNING)


def _lacks(credential: Credential, tls: api.ClientTls) -> str:
    lacking = []
    if tls.mode == "MUTUAL" and not credential.chain:
        lacking.append("tls.crt and tls.key that belong together")
    if not credential.authorities and not tls.insecure_skip_verify:
        lacking.append("ca.crt (and ca.crl, if it is there) that can be read")
    return ", and no ".join(lacking)
