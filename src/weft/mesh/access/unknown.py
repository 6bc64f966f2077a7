"""Callers that policies name and that are not there: no workload has such a service account, no namespace that name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.mesh.access.attachment import AccessPolicies, Attachment
from weft.mesh.access.call import identity_of
from weft.mesh.access.implication import ways
from weft.mesh.access.policy import AccessPolicy, Attribute, Condition, PatternKind
from weft.mesh.memo import Memo
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.schema.kinds.core import ServiceAccountSpec
from weft.schema.wording import nearest_name

CODE = "unknown-caller"
Accounts = tuple[Document[ServiceAccountSpec], ...]


@dataclass(frozen=True, slots=True)
class NamedCaller:
    """A namespace, or NAMESPACE/ACCOUNT, that a rule names."""

    name: str
    object: ObjectKey
    rule: int
    origin: Origin


def unknown_callers(
    memo: Memo, access: AccessPolicies, workloads: tuple[Workload, ...], accounts: Accounts
) -> tuple[Problem, ...]:
    """Those that no workload has, nor, if there are any, a ServiceAccount document. Without workloads only namespaces
    with such documents are known well enough."""
    named: tuple[NamedCaller, ...] = memo(_named, access)
    if not named or not (workloads or accounts):
        return ()
    by_workload = memo.groups(_names_of_workload, _order, workloads)
    declared = memo.groups(_names_of_account, _order_of_account, accounts)
    return memo.same(_unknown(memo, named, by_workload, declared))


def _unknown(
    memo: Memo, named: Iterable[NamedCaller], by_workload: Mapping[str, object], declared: Mapping[str, object]
) -> Iterator[Problem]:
    known: list[str] = []
    for one in named:
        namespace = one.name.partition("/")[0]
        if one.name in by_workload or one.name in declared or not (by_workload or namespace in declared):
            continue
        known = known or sorted({*by_workload, *declared})
        yield memo(
            _problem, one, nearest_name(one.name, [each for each in known if ("/" in each) == ("/" in one.name)])
        )


def _problem(one: NamedCaller, near: str) -> Problem:
    what = "service account" if "/" in one.name else "namespace"
    where = "no workload has" if what == "service account" else "no workload is in"
    return Problem(
        severity=Severity.WARNING,
        code=CODE,
        message=f"{where} the {what} '{one.name}' that the rule names",
        origin=one.origin,
        object=one.object,
        path=("spec", "rules", one.rule),
        nearest=near,
    )


def _named(access: AccessPolicies) -> tuple[NamedCaller, ...]:
    """What all policies name, each once for each rule."""
    found: dict[NamedCaller, None] = {}
    every: dict[Attachment, None] = {}
    for space in (*access.namespaces.values(), access.elsewhere):
        every.update(dict.fromkeys(space.attachments))
    for policy in dict.fromkeys(each.policy for each in every):
        if not isinstance(policy, AccessPolicy) or policy.object is None:
            continue
        for rule in policy.rules:
            for condition in dict.fromkeys(each for one in ways(rule) for each in one):
                for name in _names(condition, access.trust_domain):
                    found[NamedCaller(name, policy.object, rule.number, rule.origin)] = None
    return tuple(found)


def _names(condition: Condition, trust_domain: str) -> Iterator[str]:
    for pattern in condition.patterns:
        if pattern.kind is not PatternKind.EXACT:
            continue
        if condition.attribute in (Attribute.NAMESPACE, Attribute.SERVICE_ACCOUNT):
            yield pattern.value
        elif condition.attribute is Attribute.PRINCIPAL:
            domain, namespace, account = identity_of(pattern.value)
            if domain == trust_domain and namespace:
                yield f"{namespace}/{account}"


def _names_of_workload(workload: Workload) -> tuple[str, str]:
    return workload.namespace, f"{workload.namespace}/{workload.service_account}"


def _names_of_account(document: Document[ServiceAccountSpec]) -> tuple[str, str]:
    return document.key.namespace, f"{document.key.namespace}/{document.key.name}"


def _order(workload: Workload) -> tuple[str, str]:
    return workload.namespace, workload.name


def _order_of_account(document: Document[ServiceAccountSpec]) -> tuple[str, str]:
    return document.key.namespace, document.key.name
