"""Guards: CredentialPolicy, OIDCPolicy and CsrfPolicy, each attached to the Gateways and routes that it names.

A policy of a route takes the place of one of the same kind of its Gateway. Of two for one target the oldest is in
force. One that cannot be understood, or lacks what it needs, lets nobody in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from weft.mesh.access.guard import NO_GUARD, Demand, Guard, Login, Part, SameSite
from weft.mesh.access.policy import Closed
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizers import NO_AUTHORIZERS, Authorizers
from weft.mesh.policies.credentials import compile_credentials
from weft.mesh.policies.logins import Providers, compile_login
from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.policies.vault import Vault
from weft.mesh.problems import problem_at
from weft.mesh.routes.rules import RequestMatch, Respond, Rule, TextMatch
from weft.model.document import Document
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.schema.kinds.credentialpolicy import CredentialPolicySpec
from weft.schema.kinds.csrfpolicy import CsrfPolicySpec
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.oidcpolicy import OidcPolicySpec
from weft.schema.wording import nearest_name

KINDS: Mapping[str, type] = {
    "CredentialPolicy": CredentialPolicySpec,
    "CsrfPolicy": CsrfPolicySpec,
    "OIDCPolicy": OidcPolicySpec,
}
GuardDocument = Document[Any]
Result = tuple[Part | None, tuple[Problem, ...]]
"""What a policy comes to (None: nothing), and what is wrong with it."""
ROUTES = ("HTTPRoute", "GRPCRoute")
_TARGETS = ("Gateway", *ROUTES)
_REFUSED = b"weft: nobody may pass here: a policy of this gateway is not in order\n"


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What can be named: Gateways as ``namespace/name``, and routes as ``KIND namespace/name``."""

    gateways: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[str, ...]:
        """The names of one kind, ``namespace/name``."""
        if kind == "Gateway":
            return self.gateways
        return tuple([name for each, _, name in (route.partition(" ") for route in self.routes) if each == kind])


@dataclass(frozen=True, slots=True, eq=False)
class Guards:
    """By ``KIND namespace/name`` of a target, and the servers that CUSTOM policies may name. Compared by identity."""

    by_target: Mapping[str, Guard] = field(default_factory=dict)
    authorizers: Authorizers = NO_AUTHORIZERS
    problems: tuple[Problem, ...] = ()


NO_GUARDS = Guards()


def guard_documents(documents: Iterable[Document[object]]) -> tuple[GuardDocument, ...]:
    """Those of these kinds, understood or not."""
    kinds = tuple(KINDS.values())
    return tuple([each for each in documents if isinstance(each.spec, kinds) or _unreadable(each)])


def _unreadable(document: Document[object]) -> bool:
    return isinstance(document.spec, Unreadable) and document.spec.kind in KINDS


def build_guards(
    documents: tuple[GuardDocument, ...],
    memo: Memo,
    targets: Targets,
    vault: Vault,
    providers: Providers,
    authorizers: Authorizers,
) -> Guards:
    """The policies in force, by what they are for."""
    compilers: Mapping[type, Callable[[GuardDocument], Result]] = {
        CredentialPolicySpec: lambda document: memo(compile_credentials, document, vault),
        OidcPolicySpec: lambda document: memo(compile_login, document, vault, providers),
        CsrfPolicySpec: lambda document: memo(_same_site, document),
    }
    found: dict[str, list[Demand]] = {}
    problems: list[Problem] = []
    for kind in KINDS:
        own = [document for document in documents if document.key.kind == kind]
        given = [policy for document in own for policy in _policies(document, targets)]
        policies, conflicts = settle(given, ("spec", "targetRefs"), "policy-conflict", f"one {kind} for each target")
        problems += conflicts
        parts: dict[int, Part | None] = {}
        for document in own:
            parts[id(document)], wrong = _part(document, compilers)
            problems += [*wrong, *_unknown_targets(document, targets)]
        for policy in policies:
            part, document = parts[id(policy.document)], policy.document
            if part is not None:
                found.setdefault(policy.scope.target, []).append(Demand(part, document.key, document.at()))
    guards = {target: Guard(tuple(demands)) for target, demands in found.items()}
    return Guards(MappingProxyType(guards), authorizers, tuple(dict.fromkeys((*authorizers.problems, *problems))))


def _policies(document: GuardDocument, targets: Targets) -> Iterator[Policy[Any]]:
    """A policy for each target. One whose targets cannot all be read is for all of its namespace."""
    namespace, spec = document.key.namespace, document.spec
    if isinstance(spec, Unreadable) and not _scoped(spec):
        for kind in _TARGETS:
            for name in targets.of(kind):
                if name.startswith(f"{namespace}/"):
                    yield Policy(Scope(namespace, target=f"{kind} {name}"), document)
        return
    for target in spec.targets if isinstance(spec, Unreadable) else spec.target_refs:
        yield Policy(Scope(namespace, target=f"{target.kind} {namespace}/{target.name}"), document)


def _scoped(spec: Unreadable) -> bool:
    """Whether what it is for can be read: every target is one that it might have."""
    known = all(each.kind in _TARGETS and each.group in ("", GATEWAY_GROUP) for each in spec.targets)
    return spec.scoped and bool(spec.targets) and known


def _part(document: GuardDocument, compilers: Mapping[type, Callable[[GuardDocument], Result]]) -> Result:
    spec = document.spec
    if not isinstance(spec, Unreadable):
        return compilers[type(spec)](document)
    whom = "its targets let" if _scoped(spec) else "the Gateways and routes of its namespace let"
    message = f"it cannot be understood, so {whom} nobody in until it is mended"
    problem = problem_at(document, (), "policy-unreadable", message, "a document without the errors told about it")
    return Closed(document.at(), "it cannot be understood", document.key), (problem,)


def _unknown_targets(document: GuardDocument, targets: Targets) -> Iterator[Problem]:
    if isinstance(document.spec, Unreadable):
        return
    namespace = document.key.namespace
    for index, target in enumerate(document.spec.target_refs):
        known = targets.of(target.kind)
        if f"{namespace}/{target.name}" not in known:
            near = nearest_name(target.name, [each.partition("/")[2] for each in known])
            message = f"there is no {target.kind} '{target.name}' at a Gateway of this mesh in namespace '{namespace}'"
            path = ("spec", "targetRefs", index, "name")
            yield problem_at(document, path, "unknown-target", message, f"the name of a {target.kind}", nearest=near)


def _same_site(document: Document[CsrfPolicySpec]) -> Result:
    return SameSite(document.spec.additional_origins), ()


def guarded(rule: Rule, guard: Guard) -> Rule:
    """A rule whose clients meet `guard`. Where it is closed, they are refused whatever the rule does."""
    if guard.find(Closed) is not None:
        return replace(rule, action=Respond(403, _REFUSED), cors=None, authorizer=None)
    return replace(rule, guard=guard)


def guard_of(guards: Guards, gateway: str, rule: Rule) -> Guard:
    """What the clients of a rule meet at a Gateway (``namespace/name``)."""
    at_gateway = guards.by_target.get(f"Gateway {gateway}", NO_GUARD)
    key = rule.object
    own = guards.by_target.get(f"{key.kind} {key.namespace}/{key.name}") if key and key.kind in ROUTES else None
    return at_gateway if own is None else own.over(at_gateway)


def login_rules(memo: Memo, rules: Iterable[Rule]) -> list[Rule]:
    """Rules for the paths by which people come back from the provider, and log out: no rule of a route need match them.
    Nobody gets through to these rules' own answer."""
    logins = dict.fromkeys(login for rule in rules if rule.guard and (login := rule.guard.find(Login)) is not None)
    return [memo(_login_rule, login, path) for login in logins for path in (login.redirect_path, login.logout_path)]


def _login_rule(login: Login, path: str) -> Rule:
    return Rule(
        name=f"login {login.name}",
        match=RequestMatch(path=TextMatch("exact", path)),
        action=Respond(404),
        origin=login.origin,
        object=login.object,
        guard=Guard((Demand(login, login.object, login.origin),)),
    )
