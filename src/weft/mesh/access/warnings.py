"""Warnings about access policies: in force as they are written, and most likely not what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from weft.mesh.access.attachment import Attachment
from weft.mesh.access.implication import METHODS, contradiction, includes, ways
from weft.mesh.access.policy import AccessPolicy, AccessRule, Action, Attribute, Condition, Conditions, PatternKind
from weft.mesh.access.words import condition_text, conditions_text
from weft.mesh.memo import Memo
from weft.mesh.policies.scope import Scope
from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem, Severity
from weft.schema.wording import nearest_name

SpecT = TypeVar("SpecT")
_DODGED = {Attribute.PATH: "path", Attribute.HEADER: "header"}
_EXPECTED = "an ALLOW policy with the paths or values that are let in: what it does not name is denied"


def policy_warnings(
    memo: Memo, documents: Iterable[Document[SpecT]], attachments: Iterable[Attachment], trust_domain: str
) -> list[Problem]:
    """What is to be said of each policy alone, and of what others do to it."""
    by_key: dict[ObjectKey, Document[SpecT]] = {document.key: document for document in documents}
    found: list[Problem] = []
    stated = [each for each in attachments if isinstance(each.policy, AccessPolicy) and each.policy.object in by_key]
    deciding = [each for each in stated if isinstance(each.policy, AccessPolicy) and not each.policy.dry_run]
    denying, allowing = _by_namespace(deciding, Action.DENY), _by_namespace(deciding, Action.ALLOW)
    for each in stated:
        policy = each.policy
        if not isinstance(policy, AccessPolicy) or policy.object is None:
            continue
        document, space = by_key[policy.object], each.scope.namespace
        found += memo(_alone, document, policy, trust_domain)
        if policy.action is Action.ALLOW and not policy.dry_run:
            wider = (*denying.get("", ()), *(denying.get(space, ()) if space else ()))
            found += memo(_swallowed, document, each, wider, trust_domain) if wider else ()
            if not all(all(ways(rule)) for rule in policy.rules):
                found += memo(_moot, document, each, allowing.get(space, ()) if space else _every(allowing))
    return list(dict.fromkeys(found))


def _by_namespace(attachments: Iterable[Attachment], action: Action) -> dict[str, tuple[Attachment, ...]]:
    found: dict[str, list[Attachment]] = {}
    for each in attachments:
        if isinstance(each.policy, AccessPolicy) and each.policy.action is action:
            found.setdefault(each.scope.namespace, []).append(each)
    return {namespace: tuple(given) for namespace, given in found.items()}


def _every(by_namespace: Mapping[str, tuple[Attachment, ...]]) -> tuple[Attachment, ...]:
    return tuple(each for given in by_namespace.values() for each in given)


def _alone(document: Document[object], policy: AccessPolicy, trust_domain: str) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for rule in policy.rules:
        found += _dodged(document, policy, rule)
        found += _never(document, rule, trust_domain)
    return tuple(found)


def _dodged(document: Document[object], policy: AccessPolicy, rule: AccessRule) -> Iterator[Problem]:
    """Rules that keep out what is spelt one way, while applications take more spellings for the same."""
    if policy.action not in (Action.DENY, Action.ALLOW):
        return
    find = _left_out if policy.action is Action.ALLOW else _kept_out
    bad = [condition for one in ways(rule) for condition in find(one)]
    if bad:
        what = " and ".join(dict.fromkeys(_DODGED[one.attribute] for one in bad))
        how = "denies by" if policy.action is Action.DENY else "allows all but a"
        message = (
            f"the rule {how} {what} ({condition_text(bad[0])}): it is dodged by spellings that the application takes "
            "for the same (another case, %20 or a dot at the end, ';', values of a header joined by commas)"
        )
        yield _warning(document, rule, "deny-by-path", message, _EXPECTED)


def _kept_out(conditions: Conditions) -> list[Condition]:
    """What a rule that denies names. That there is any value at all has no other spelling."""
    named = [one for one in conditions if one.attribute in _DODGED and not one.negated]
    return [one for one in named if any(pattern.kind is not PatternKind.PRESENT for pattern in one.patterns)]


def _left_out(conditions: Conditions) -> list[Condition]:
    """What a rule that allows leaves out, where it does not say as well what it lets in."""
    let_in = {(one.attribute, one.key) for one in conditions if not one.negated}
    left = [one for one in conditions if one.attribute in _DODGED and one.negated]
    return [one for one in left if (one.attribute, one.key) not in let_in]


def _never(document: Document[object], rule: AccessRule, trust_domain: str) -> Iterator[Problem]:
    """Rules that no call meets."""
    wrong = [contradiction(one, trust_domain) for one in ways(rule)]
    if wrong and all(wrong):
        message = f"no call can meet the rule: {conditions_text(wrong[0])} exclude each other"
        yield _warning(document, rule, "rule-never-matches", message, "conditions that one call can meet")
        return
    methods = [one for each in ways(rule) for one in each if one.attribute is Attribute.METHOD and not one.negated]
    for name in dict.fromkeys(
        pattern.value for one in methods for pattern in one.patterns if _is_unknown(pattern.value)
    ):
        near = name.upper() if name.upper() in METHODS else nearest_name(name, METHODS)
        message = f"there is no method '{name}' in HTTP, and case matters, so no call has it"
        yield _warning(document, rule, "rule-never-matches", message, f"one of {', '.join(METHODS)}", nearest=near)


def _is_unknown(method: str) -> bool:
    """Whether it is a word in small letters, or nearly one of HTTP's. Others may be an application's own."""
    return method not in METHODS and (method.upper() in METHODS or bool(nearest_name(method, METHODS)))


def _swallowed(
    document: Document[object], allowing: Attachment, denying: tuple[Attachment, ...], trust_domain: str
) -> tuple[Problem, ...]:
    """Rules whose calls a DENY policy denies wherever they hold."""
    found = []
    covering = [each.policy for each in denying if _contains(each.scope, allowing.scope)]
    wider = [(deny, rule) for deny in covering if isinstance(deny, AccessPolicy) for rule in deny.rules]
    for rule in allowing.policy.rules if isinstance(allowing.policy, AccessPolicy) else ():
        other = next(((deny, wide) for deny, wide in wider if includes(wide, rule, trust_domain)), None)
        if other is not None:
            deny, wide = other
            message = f"all that the rule allows is denied by {deny.object} (rule {wide.number}, {wide.origin})"
            found.append(_warning(document, rule, "allow-swallowed", message, "one of the two rules"))
    return tuple(found)


def _moot(document: Document[object], everybody: Attachment, allowing: tuple[Attachment, ...]) -> tuple[Problem, ...]:
    """A rule that allows everybody where other policies were meant to let some in."""
    policy = everybody.policy
    other = next(
        (one.policy for one in allowing if one.policy is not policy and _contains(everybody.scope, one.scope)), None
    )
    if other is None or not isinstance(policy, AccessPolicy):
        return ()
    rule = next(rule for rule in policy.rules if not all(ways(rule)))
    message = f"the rule allows every call, so {other.object} ({other.origin}) keeps nobody out"
    return (_warning(document, rule, "allows-everybody", message, "rules that ask for something"),)


def _contains(wide: Scope, narrow: Scope) -> bool:
    """Whether one scope holds wherever another does."""
    if wide == narrow:
        return True
    if wide.target or wide.namespace not in ("", narrow.namespace):
        return False
    return not wide.selector or (not narrow.target and set(wide.selector) <= set(narrow.selector))


def _warning(
    document: Document[object], rule: AccessRule, code: str, message: str, expected: str = "", *, nearest: str = ""
) -> Problem:
    path = ("spec", "rules", rule.number)
    return problem_at(document, path, code, message, expected, severity=Severity.WARNING, nearest=nearest)
