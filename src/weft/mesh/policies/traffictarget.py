"""TrafficTarget of the Service Mesh Interface: who may call the workloads of a service account.

Each is an ALLOW policy for them, so that what none allows is refused. A route that it names and that is not there
allows nothing. https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-access/v1alpha3/traffic-access.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from weft.mesh.access.attachment import Attached, Attachment
from weft.mesh.access.policy import (
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Condition,
    Conditions,
    Pattern,
    PatternKind,
)
from weft.mesh.policies.scope import Scope
from weft.mesh.problems import one_of, problem_at
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds.smi import HttpRouteGroupSpec, SmiMatch, SmiRule, SmiTcpRouteSpec, TrafficTargetSpec
from weft.schema.wording import nearest_name

TargetDocument = Document[TrafficTargetSpec]
RouteDocument = Document[HttpRouteGroupSpec] | Document[SmiTcpRouteSpec]
Alternatives = tuple[Conditions, ...]
_EXPRESSION = r"[][\\^$.|?*+(){}]"
"""A sign that means something in an expression. A text without one is compared as it is."""


def target_documents(documents: Iterable[Document[object]]) -> tuple[TargetDocument, ...]:
    """The TrafficTargets that can be understood."""
    return tuple(document for document in documents if _is_target(document))


def route_documents(documents: Iterable[Document[object]]) -> tuple[RouteDocument, ...]:
    """The routes that these may name."""
    return tuple(document for document in documents if _is_route(document))


def _is_target(document: Document[object]) -> TypeGuard[TargetDocument]:
    return isinstance(document.spec, TrafficTargetSpec)


def _is_route(document: Document[object]) -> TypeGuard[RouteDocument]:
    return isinstance(document.spec, HttpRouteGroupSpec | SmiTcpRouteSpec)


def attach_target(document: TargetDocument, routes: tuple[RouteDocument, ...]) -> Attached:
    """The policy of a TrafficTarget, before the workloads of its destination."""
    spec, namespace = document.spec, document.key.namespace
    destination = spec.destination
    if destination.namespace not in ("", namespace):
        path: FieldPath = ("spec", "destination", "namespace")
        message = "a TrafficTarget is for workloads of its own namespace, so this is not in force"
        return Attached((), (problem_at(document, path, "misplaced-policy", message, namespace),))
    callers = tuple(Pattern(PatternKind.EXACT, f"{each.namespace or namespace}/{each.name}") for each in spec.sources)
    sources: Alternatives = ((Condition(Attribute.SERVICE_ACCOUNT, callers),),)
    problems: list[Problem] = []
    rules: list[AccessRule] = []
    for number, rule in enumerate(spec.rules):
        found, wrong = _operations(document, ("spec", "rules", number), rule, routes)
        problems += wrong
        if found:
            rules.append(AccessRule(number, document.at("spec", "rules", number), sources, found))
    if not spec.rules:
        rules.append(AccessRule(0, document.origin, sources))
    policy = AccessPolicy(document.key, document.origin, Action.ALLOW, tuple(rules))
    scope = Scope(namespace, target=f"ServiceAccount {namespace}/{destination.name}")
    return Attached((Attachment(scope, policy),), tuple(problems))


def _operations(
    document: TargetDocument, path: FieldPath, rule: SmiRule, routes: tuple[RouteDocument, ...]
) -> tuple[Alternatives, list[Problem]]:
    """What a rule allows: an empty tuple if nothing."""
    ours = [each for each in routes if each.key.namespace == document.key.namespace and each.key.kind == rule.kind]
    found = next((each for each in ours if each.key.name == rule.name), None)
    if found is None:
        known = [each.key.name for each in ours]
        message = f"there is no {rule.kind} '{rule.name}', so the rule allows nothing"
        expected = one_of(known, f"a {rule.kind} of this namespace")
        near = nearest_name(rule.name, known)
        return (), [problem_at(document, (*path, "name"), "unknown-target", message, expected, nearest=near)]
    if isinstance(found.spec, SmiTcpRouteSpec):
        ports = tuple(Pattern(PatternKind.EXACT, str(port)) for port in found.spec.matches.ports)
        return ((Condition(Attribute.PORT, ports),) if ports else (),), []
    return _matches(document, path, rule, found.spec)


def _matches(
    document: TargetDocument, path: FieldPath, rule: SmiRule, group: HttpRouteGroupSpec
) -> tuple[Alternatives, list[Problem]]:
    named = {match.name: match for match in group.matches}
    problems = []
    for index, name in enumerate(rule.matches):
        if name not in named:
            message = f"HTTPRouteGroup '{rule.name}' has no match '{name[:80]}', so this allows nothing"
            where = (*path, "matches", index)
            near = nearest_name(name, named)
            problems.append(problem_at(document, where, "unknown-target", message, one_of(named, ""), nearest=near))
    chosen = [named[name] for name in rule.matches if name in named] if rule.matches else group.matches
    problems += _sent_twice(document, path, chosen)
    return tuple(tuple(_conditions(match)) for match in chosen), problems


def _sent_twice(document: TargetDocument, path: FieldPath, chosen: Iterable[SmiMatch]) -> Iterator[Problem]:
    """Headers that let a caller in by an expression: a proxy cannot ask whether all values of one fit it."""
    for match in chosen:
        for name, text in sorted(match.headers.items()):
            if re.search(_EXPRESSION, text):
                message = (
                    f"it lets in by an expression for the header {name.lower()[:80]} (match '{match.name[:80]}'): who "
                    "sends the header twice is let in if one value fits, and the application may look at the other"
                )
                expected, severity = "a text without signs of an expression", Severity.WARNING
                yield problem_at(document, path, "header-by-expression", message, expected, severity=severity)


def _conditions(match: SmiMatch) -> Iterator[Condition]:
    if match.path_regex:
        yield Condition(Attribute.PATH, (Pattern(PatternKind.REGEX, match.path_regex),))
    if match.methods and "*" not in match.methods:
        yield Condition(Attribute.METHOD, tuple(Pattern(PatternKind.EXACT, text) for text in match.methods))
    for name, text in sorted(match.headers.items()):
        kind = PatternKind.REGEX if re.search(_EXPRESSION, text) else PatternKind.EXACT
        yield Condition(Attribute.HEADER, (Pattern(kind, text),), key=(name.lower(),))
