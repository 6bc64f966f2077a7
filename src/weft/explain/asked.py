"""Requests that a guard or a server that is asked has refused: which policy it was, who was asked, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from weft.explain.answer import Cause
from weft.explain.facts import Facts
from weft.explain.journal import Noted
from weft.mesh.access.access import Access
from weft.mesh.access.attachment import gateway_accesses, port_accesses
from weft.mesh.access.guard import ApiKeys, Authorizer, Guard, Login, Part, Passwords, SameSite
from weft.mesh.access.policy import Action, Closed
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizers import ask
from weft.mesh.routes.rules import Rule
from weft.mesh.services.workloads import gateway_of
from weft.mesh.views import GatewayPort
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.workload import Workload

DETAILS = {
    "ext_authz_denied": "asked-refused",
    "ext_authz_error": "asked-unanswered",
    "missing_api_key": "not-let-in",
    "unknown_api_key": "not-let-in",
    "no_credential_for_basic_auth": "not-let-in",
    "invalid_credential_for_basic_auth": "not-let-in",
    "csrf_origin_mismatch": "not-let-in",
}
"""Codes of causes, by how Envoy's details begin."""
_WORDS = {
    "asked-refused": ("said no", "ask whoever runs it; its own log says why"),
    "asked-unanswered": ("did not answer, or not in time", "weft explain to it; failOpen lets requests pass meanwhile"),
}
_LACKS = {
    "missing_api_key": "the request has no API key",
    "unknown_api_key": "the request has an API key that nobody has",
    "no_credential_for_basic_auth": "the request has no user and password",
    "invalid_credential_for_basic_auth": "the request has a wrong user or password",
    "csrf_origin_mismatch": "the request changes something, and comes from a page of another host",
}
_PARTS: dict[str, tuple[type[Part], ...]] = {
    "csrf_origin_mismatch": (SameSite,),
    "missing_api_key": (ApiKeys,),
    "unknown_api_key": (ApiKeys,),
    "no_credential_for_basic_auth": (Passwords,),
    "invalid_credential_for_basic_auth": (Passwords,),
}
_MOST = 3
"""So many routes are named where several ask the same."""
_ORDER: tuple[type[Part], ...] = (SameSite, Login, ApiKeys, Passwords, Closed)
"""In which a request meets them."""
Policy = tuple[ObjectKey, Origin]


def asked_causes(facts: Facts, noted: Noted) -> Iterator[Cause]:
    """Why a guard, or who is asked, has refused a request; nothing where neither has."""
    seen = noted.seen
    word = next((word for word in DETAILS if seen.details.startswith(word)), None)
    if word is None:
        return
    code = DETAILS[word]
    where = f"proxy {noted.proxy}"
    if code == "not-let-in":
        found = list(_demands(facts, noted, word))
        text = f"{noted.proxy}: {_LACKS[word]}"
        for key, origin in found:
            yield Cause(code, text, str(key), str(origin), "show what the policy asks for")
        if not found:
            yield Cause(code, text, source=where)
        return
    what, fix = _WORDS[code]
    asked = list(_asked(facts, noted))
    for authorizer, (key, origin) in asked:
        text = f"{noted.proxy} {seen.side}: '{authorizer.name}', which {key} has asked, {what}"
        yield Cause(code, f"{text} (provider at {authorizer.origin})", str(key), str(origin), fix)
    if not asked:
        text = f"{noted.proxy} {seen.side}: the server that the rule has asked {what}"
        yield Cause(code, text, seen.object, seen.source or where, fix)


def _demands(facts: Facts, noted: Noted, word: str) -> Iterator[Policy]:
    """The policies that may have refused a request at a gateway."""
    workload = facts.workload(noted.proxy)
    if workload is None or workload.gateway is None:
        return
    targets = [f"Gateway {gateway_of(workload)}"]
    kind, _, name = noted.seen.object.partition(" ")
    targets.insert(0, f"{kind} {name}")
    for target in targets:
        guard: Guard | None = facts.mesh.guards.by_target.get(target)
        found = [each for each in guard.demands if isinstance(each.part, _PARTS[word])] if guard else []
        if found:
            yield from ((each.object, each.origin) for each in found)
            return


def _asked(facts: Facts, noted: Noted) -> Iterator[tuple[Authorizer, Policy]]:
    """Who may have been asked before the application (or at the gateway) of a proxy, and by which policies."""
    workload = facts.workload(noted.proxy)
    if workload is None or noted.seen.side == "outbound":
        return
    for access in _accesses(facts, workload):
        for authorizer in access.authorizers:
            for policy in access.enforced(Action.CUSTOM):
                if policy.provider == authorizer.name:
                    yield authorizer, (policy.object, policy.origin)


def _accesses(facts: Facts, workload: Workload) -> tuple[Access, ...]:
    mesh, memo = facts.mesh, Memo()
    policies = mesh.access
    space = policies.of(workload.namespace)
    if workload.gateway is not None:
        name = gateway_of(workload)
        gateway = mesh.gateways.by_name.get(name)
        ports = tuple(sorted(gateway.hosts)) if gateway is not None else ()
        of_class = policies.classes.get(name, "")
        found = gateway_accesses(memo, space, policies.trust_domain, of_class, workload, ports)
        return ask(memo, found, mesh.guards.authorizers, ())
    frontends = mesh.catalog.selecting(workload.namespace, workload.labels)
    found = port_accesses(memo, space, policies.trust_domain, frontends, workload)
    return ask(memo, found, mesh.guards.authorizers, frontends)


def met_at(port: GatewayPort, host: str = "") -> tuple[str, ...]:
    """What clients of a gateway's port meet on routes that lead to the service `host` (on any, without it): who is
    asked, and what they have to show. No verdict on a call knows what comes of it."""
    found: dict[str, list[str]] = {}
    rules = [rule for server in port.servers for each in server.virtual_hosts for rule in each.rules]
    for rule in rules:
        if not host or any(key.host == host for key in rule.backends()):
            for text in guard_texts(rule):
                found.setdefault(text, []).append(f"{rule.object} ({rule.origin})")
    return tuple(f"{text}, on routes of {_listed(dict.fromkeys(of))}" for text, of in found.items())


def _listed(objects: Collection[str]) -> str:
    shown = ", ".join(list(objects)[:_MOST])
    return f"{shown} and {len(objects) - _MOST} more" if len(objects) > _MOST else shown


def guard_texts(rule: Rule) -> Iterator[str]:
    """What a client of a rule meets before anything is done for it."""
    demands = rule.guard.demands if rule.guard else ()
    for demand in sorted(demands, key=lambda each: _ORDER.index(type(each.part))):
        where = f"({demand.object}, {demand.origin})"
        match demand.part:
            case Login() as login:
                yield f"sends browsers without a session to {login.authorization_endpoint} to log in {where}"
            case ApiKeys() as keys:
                yield f"answers 401 to who shows no API key of {len(keys.clients)} clients {where}"
            case Passwords():
                yield f"answers 401 to who shows no user and password {where}"
            case SameSite():
                yield f"answers 403 to changes that come from pages of other hosts {where}"
    if rule.authorizer is not None:
        server = rule.authorizer.server
        to = f"{server.backend.host}:{server.backend.port}" if server.backend else f"{server.host}:{server.port}"
        yield f"asks {to} whether the request may pass ({'gRPC' if rule.authorizer.grpc else 'HTTP'})"
