"""RateLimitPolicy: which one is in force for a Service's port, a Gateway or a route, and what it comes to.

A policy of a route takes the place of its Gateway's, one of a Service's port of the Service's; of two for one target
the oldest is in force.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weft.mesh.access.access import Access
from weft.mesh.access.limits import KeyKind, Limit, LimitKey, LimitPolicy
from weft.mesh.memo import Memo
from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.rules import NamedMatch, RequestMatch, Rule, TextMatch
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import Frontend
from weft.model.document import Document
from weft.model.problem import Problem
from weft.model.workload import Workload, WorkloadPort
from weft.schema.kinds import ratelimitpolicy as api
from weft.schema.kinds.httproute import HeaderMatch, PathMatch
from weft.schema.wording import nearest_name

RateLimitPolicyDocument = Document[api.RateLimitPolicySpec]
_SECONDS = {"Second": 1, "Minute": 60, "Hour": 3600, "Day": 86400}
_KEYS: Mapping[str, KeyKind] = {
    "ClientAddress": "address",
    "Identity": "identity",
    "Header": "header",
    "Claim": "claim",
    "Path": "path",
    "Method": "method",
    "Host": "host",
}
_ROUTES = ("HTTPRoute", "GRPCRoute")


@dataclass(frozen=True, slots=True, eq=False)
class LimitTargets:
    """What can be named beside Services: Gateways, and routes at Gateways (``KIND namespace/name``)."""

    gateways: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RateLimits:
    """The policies in force by target (``KIND namespace/name``, of a Service's port with ``:PORT``), and what is wrong
    with documents. Compared by identity."""

    by_target: Mapping[str, LimitPolicy] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def of_rule(self, gateway: str, rule: Rule) -> LimitPolicy | None:
        """The one for the requests of a rule at a Gateway (``namespace/name``)."""
        key = rule.object
        own = None
        if key is not None and key.kind in _ROUTES:
            own = self.by_target.get(f"{key.kind} {key.namespace}/{key.name}")
        return own or self.by_target.get(f"Gateway {gateway}")


NO_LIMITS = RateLimits()


def build_rate_limits(
    documents: tuple[RateLimitPolicyDocument, ...], memo: Memo, catalog: Catalog, targets: LimitTargets
) -> RateLimits:
    """The policies of all namespaces."""
    given = [
        Policy(Scope(document.key.namespace, target=_target(document, target)), document)
        for document in documents
        for target in document.spec.target_refs
    ]
    policies, problems = settle(given, ("spec", "targetRefs"), "policy-conflict", "one RateLimitPolicy for each target")
    unknown = [problem for document in documents for problem in _unknown(document, catalog, targets)]
    return RateLimits(
        MappingProxyType({policy.scope.target: memo(compile_limits, policy.document) for policy in policies}),
        tuple(dict.fromkeys((*problems, *unknown))),
    )


def _target(document: RateLimitPolicyDocument, target: api.LimitTarget) -> str:
    section = f":{target.section_name}" if target.section_name else ""
    return f"{target.kind} {document.key.namespace}/{target.name}{section}"


def compile_limits(document: RateLimitPolicyDocument) -> LimitPolicy:
    """What a document says, in mesh words."""
    spec = document.spec
    return LimitPolicy(
        object=document.key,
        origin=document.at(),
        limits=tuple(_limit(limit) for limit in spec.limits),
        shared=spec.mode == "Global",
        dry_run=spec.dry_run,
        fail_open=spec.failure_mode != "Closed",
    )


def _limit(limit: api.Limit) -> Limit:
    return Limit(
        name=limit.name,
        requests=limit.requests,
        seconds=_SECONDS[limit.unit],
        burst=limit.burst or limit.requests,
        match=_match(limit.match) if limit.match else RequestMatch(),
        keys=tuple(_key(key) for key in limit.by),
    )


def _key(key: api.LimitKey) -> LimitKey:
    name = key.name or ""
    return LimitKey(_KEYS[key.type], name.lower() if key.type == "Header" else name)


def _match(match: api.LimitMatch) -> RequestMatch:
    return RequestMatch(
        path=_path(match.path) if match.path else None,
        method=TextMatch("exact", match.method) if match.method else None,
        headers=tuple(_header(header) for header in match.headers),
    )


def _path(path: PathMatch) -> TextMatch:
    match path.type:
        case "Exact":
            return TextMatch("exact", path.value)
        case "PathPrefix":
            return TextMatch("segment-prefix", path.value)
        case "RegularExpression":
            return TextMatch("regex", path.value)


def _header(header: HeaderMatch) -> NamedMatch:
    kind = TextMatch("exact" if header.type == "Exact" else "regex", header.value)
    return NamedMatch(header.name.lower(), kind)


def _unknown(document: RateLimitPolicyDocument, catalog: Catalog, targets: LimitTargets) -> Iterator[Problem]:
    """Targets that are not there."""
    namespace = document.key.namespace
    for index, target in enumerate(document.spec.target_refs):
        path = ("spec", "targetRefs", index, "name")
        if target.kind == "Service":
            frontend = catalog.named(target.name, namespace)
            if frontend is not None:
                yield from _unknown_section(document, index, target, frontend)
                continue
            known: tuple[str, ...] = catalog.names_in(namespace)
        else:
            every = targets.gateways if target.kind == "Gateway" else targets.routes
            heads = f"{namespace}/" if target.kind == "Gateway" else f"{target.kind} {namespace}/"
            known = tuple(name.removeprefix(heads) for name in every if name.startswith(heads))
            if target.name in known:
                continue
        where = "" if target.kind == "Service" else " at a Gateway" if target.kind in _ROUTES else " of this mesh"
        message = f"there is no {target.kind} '{target.name}'{where} in namespace '{namespace}', so it limits nothing"
        near = nearest_name(target.name, known)
        yield problem_at(document, path, "unknown-target", message, f"the name of a {target.kind}", nearest=near)


def _unknown_section(
    document: RateLimitPolicyDocument, index: int, target: api.LimitTarget, frontend: Frontend
) -> Iterator[Problem]:
    names = [_section(port.name, port.number) for port in frontend.ports]
    if target.section_name is None or target.section_name in names:
        return
    message = f"{frontend.key} has no port '{target.section_name}', so it limits nothing there"
    near = nearest_name(target.section_name, names)
    path = ("spec", "targetRefs", index, "sectionName")
    yield problem_at(document, path, "unknown-target", message, one_of(names, "the name of a port"), nearest=near)


def _section(name: str, number: int) -> str:
    """How a port of a Service is called: by its name or, where it has none, its number."""
    return name or str(number)


def limit_ports(
    memo: Memo,
    accesses: tuple[Access, ...],
    limits: RateLimits,
    frontends: tuple[Frontend, ...],
    workload: Workload,
) -> tuple[Access, ...]:
    """What is asked before each port of a workload, with the limits of the Services that lead there."""
    if not limits.by_target:
        return accesses
    found = limits_before(limits, frontends, workload)
    return tuple(
        memo.over(with_limits, policies, access) if policies else access
        for access, policies in zip(accesses, found, strict=True)
    )


def limits_before(
    limits: RateLimits, frontends: tuple[Frontend, ...], workload: Workload
) -> tuple[tuple[LimitPolicy, ...], ...]:
    """The policies before each port of a workload."""
    return tuple(_of_port(limits, frontends, workload, port) for port in workload.ports)


def with_limits(policies: tuple[LimitPolicy, ...], access: Access) -> Access:
    """The same, and no more requests than these policies allow."""
    return replace(access, limits=policies)


def limited(rule: Rule, policy: str) -> Rule:
    """A rule whose requests count against the policy of this name."""
    return replace(rule, limited=policy)


def _of_port(
    limits: RateLimits, frontends: tuple[Frontend, ...], workload: Workload, port: WorkloadPort
) -> tuple[LimitPolicy, ...]:
    found: dict[LimitPolicy, None] = {}
    for frontend in frontends:
        for each in frontend.ports:
            if port_behind(frontend, each.target, workload) is port:
                service = f"Service {frontend.namespace}/{frontend.name}"
                section = f"{service}:{_section(each.name, each.number)}"
                policy = limits.by_target.get(section) or limits.by_target.get(service)
                if policy is not None:
                    found[policy] = None
    return tuple(found)
