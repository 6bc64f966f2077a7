"""What is wrong with access policies beside other documents: targets that are not there, rules for requests where there
are connections only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.mesh.access.attachment import Attachment
from weft.mesh.access.policy import HTTP_ONLY, AccessPolicy, AccessRule, Action, Attribute, Conditions
from weft.mesh.gateways.declared import Declared
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizationpolicy import Targeting, named_targets
from weft.mesh.policies.scope import Scope
from weft.mesh.problems import one_of, problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Frontend, Protocol
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.schema.kinds.gateway import BUILT_IN_CLASSES
from weft.schema.wording import nearest_name

PolicyDocument = Document[Targeting | Unreadable]
_CLOSED = ObjectKey("", "", "", "")
_TOLD = 3
"""So many ports are told of for one rule; more would say the same."""


def access_problems(
    memo: Memo,
    documents: Iterable[PolicyDocument],
    attachments: Iterable[Attachment],
    catalog: Catalog,
    declared: Declared,
) -> list[Problem]:
    """Those of all policies."""
    by_key = {document.key: document for document in documents}
    spaces: dict[str, list[Frontend]] = {}
    for frontend in memo(_with_tcp, catalog):
        for name in ("", frontend.namespace):
            spaces.setdefault(name, []).append(frontend)
    tcp = {name: memo.same(found) for name, found in spaces.items()}
    problems = [problem for document in by_key.values() for problem in _unknown_targets(document, catalog, declared)]
    for attachment in attachments:
        document, near = by_key.get(_object(attachment)), tcp.get(attachment.scope.namespace)
        if document is not None and near:
            problems += memo(_on_tcp, document, attachment, near)
        if document is not None:
            problems += _on_udp(document, attachment, declared)
    return list(dict.fromkeys(problems))


def _with_tcp(catalog: Catalog) -> tuple[Frontend, ...]:
    """The Services that have a TCP port."""
    return tuple(each for each in catalog.frontends if any(port.protocol is Protocol.TCP for port in each.ports))


def _object(attachment: Attachment) -> ObjectKey:
    policy = attachment.policy
    return policy.object if isinstance(policy, AccessPolicy) else _CLOSED


def _unknown_targets(document: PolicyDocument, catalog: Catalog, declared: Declared) -> Iterator[Problem]:
    namespace = document.key.namespace
    for path, kind, name in named_targets(document):
        if kind == "Service" and catalog.named(name, namespace) is not None:
            continue
        if kind == "Service":
            known = list(catalog.names_in(namespace))
        elif kind == "Gateway":
            every = (*declared.gateways, *declared.foreign, *declared.refused)
            known = [each.partition("/")[2] for each in every if each.startswith(f"{namespace}/")]
        else:
            known = [*BUILT_IN_CLASSES, *(each.gateway_class for each in declared.gateways.values())]
        if name not in known:
            where = "" if kind == "GatewayClass" else f" in namespace '{namespace}'"
            message = f"there is no {kind} '{name}'{where}, so the policy holds nowhere by it"
            expected = one_of(sorted(set(known))[:10], f"the name of a {kind}")
            near = nearest_name(name, known)
            yield problem_at(document, (*path, "name"), "unknown-target", message, expected, nearest=near)


def _on_tcp(document: PolicyDocument, attachment: Attachment, frontends: tuple[Frontend, ...]) -> tuple[Problem, ...]:
    """Rules that look at requests, where connections are all there is."""
    policy = attachment.policy
    if not isinstance(policy, AccessPolicy):
        return ()
    covered = [
        (frontend, port)
        for frontend in frontends
        if _covers(attachment.scope, frontend)
        for port in frontend.ports
        if port.protocol is Protocol.TCP
    ]
    problems = []
    for rule in policy.rules:
        met = [(frontend, port) for frontend, port in covered if _looks_at_requests(rule, port.target)]
        if not met:
            continue
        names = [f"{frontend.name}.{frontend.namespace}:{port.number}" for frontend, port in met[:_TOLD]]
        more = f" and {len(met) - _TOLD} more" if len(met) > _TOLD else ""
        effect = "it is never met there" if policy.action is Action.ALLOW else "it is met there whatever they would be"
        message = f"the rule looks at requests, and at TCP ports ({', '.join(names)}{more}) there are none: {effect}"
        expected = "`ports` that leave TCP ports out, or a rule of its own for them"
        path = ("spec", "rules", rule.number)
        problems.append(problem_at(document, path, "http-rule-on-tcp", message, expected, severity=Severity.WARNING))
    return tuple(problems)


def _on_udp(document: PolicyDocument, attachment: Attachment, declared: Declared) -> Iterator[Problem]:
    """Gateways whose UDP listeners a policy closes, as far as it names them, or all of a namespace or the mesh."""
    policy, scope = attachment.policy, attachment.scope
    decides = isinstance(policy, AccessPolicy) and not policy.dry_run and policy.action is not Action.AUDIT
    if not decides or scope.selector:
        return
    for gateway in declared.every():
        names = [each.name for each in gateway.listeners if each.datagrams]
        whole = gateway.parent or gateway.name
        targets = (f"Gateway {whole}", f"GatewayClass {gateway.gateway_class}")
        if names and (scope.target in targets if scope.target else scope.namespace in ("", whole.partition("/")[0])):
            message = f"the policy covers Gateway {whole}, whose UDP listeners ({', '.join(names)}) stay closed by it"
            expected = "a Gateway of its own for UDP, which no policy covers"
            yield problem_at(document, ("spec",), "udp-closed", message, expected, severity=Severity.WARNING)


def _covers(scope: Scope, frontend: Frontend) -> bool:
    """Whether it holds for the workloads of a Service, as far as its selector shows."""
    if scope.target:
        return scope.target == f"Service {frontend.namespace}/{frontend.name}"
    if scope.namespace not in ("", frontend.namespace):
        return False
    return set(scope.selector) <= set(frontend.selector)


def _looks_at_requests(rule: AccessRule, target: int | str) -> bool:
    """Whether what the rule says of a port (by number, or by a name that may be any) is about requests."""
    operations = [each for each in rule.operations or ((),) if _concerns(each, target)]
    if not operations or not _concerns(rule.when, target):
        return False
    return any(each.attribute in HTTP_ONLY for found in (*rule.sources, *operations, rule.when) for each in found)


def _concerns(conditions: Conditions, target: int | str) -> bool:
    ports = [each for each in conditions if each.attribute is Attribute.PORT]
    return isinstance(target, str) or all(each.meets_port(target) for each in ports)
