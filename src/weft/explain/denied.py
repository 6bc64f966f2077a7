"""Denied: what policies make of a request that is described, and which of them denied one that proxies noted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.explain.answer import Cause, Decider
from weft.explain.authorization import decider_of, notes_of
from weft.explain.callers import Place, places_of, workload_of
from weft.explain.connections import Connection
from weft.explain.facts import Facts, Question
from weft.explain.journal import Noted
from weft.explain.verdict import Verdict as Fate
from weft.explain.verdict import apply_changes
from weft.mesh.access.access import Access
from weft.mesh.access.call import Call, HttpCall
from weft.mesh.access.paths import host_as_asked, normalised_path
from weft.mesh.access.policy import AccessPolicy, AccessRule, Action, Attribute
from weft.mesh.access.verdict import Verdict, verdict_on
from weft.mesh.access.words import rule_text
from weft.mesh.memo import Memo
from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.mesh.views import GatewayView, InboundPort, ProxyView
from weft.model.requests import RequestSeen

CODE = "access-denied"
_MATCHED = re.compile(r"rbac_access_denied_matched_policy\[([^\]]*)\]")
_NONE = "none"
_ADDRESSES = frozenset({Attribute.SOURCE_IP, Attribute.REMOTE_IP, Attribute.DESTINATION_IP, Attribute.SNI})
_OF_TOKENS = frozenset({Attribute.REQUEST_PRINCIPAL, Attribute.AUDIENCE, Attribute.PRESENTER, Attribute.CLAIM})


@dataclass(frozen=True, slots=True)
class Judged:
    """What policies say of a described request at one proxy: in words for its hop, and the cause if they deny it."""

    texts: tuple[str, ...] = ()
    cause: Cause | None = None


def judged_before(question: Question, fate: Fate, port: InboundPort, where: str) -> Judged:
    """What the policies before an application's port say of a request that a proxy sends on to it."""
    request = question.request
    headers = apply_changes(dict(request.headers), fate.request)
    host = fate.host or request.authority
    unknown = _unknown(headers)
    if question.described:  # any workload of its namespace calls
        unknown |= {Attribute.PRINCIPAL, Attribute.SERVICE_ACCOUNT}
    principal = str(question.view.identity).removeprefix("spiffe://") if port.mode is not MutualTlsMode.DISABLE else ""
    http = None
    if port.protocol is not Protocol.TCP:
        http = _http(request.method, host, fate.path or request.path, headers)
    return _judged(port.access, Call(principal, port.port, http, unknown=frozenset(unknown)), where)


def judged_at_gateway(question: Question) -> Judged:
    """What the policies of a gateway say of a client's request."""
    view, request = question.view, question.request
    if not isinstance(view, GatewayView):
        return Judged()
    access = next((one.access for one in view.ports if one.port == request.listener), Access())
    http = _http(request.method, request.authority, request.path, dict(request.headers))
    call = Call("", request.listener, http, unknown=frozenset(_unknown(request.headers)))
    return _judged(access, call, view.proxy)


def connection_before(identity: str, port: InboundPort, where: str, *, described: bool) -> Judged:
    """What the policies before an application's port say of a connection that the proxy of `identity` makes to it.
    `described`: any workload of its namespace does."""
    unknown = set(_ADDRESSES)
    if described:
        unknown |= {Attribute.PRINCIPAL, Attribute.SERVICE_ACCOUNT}
    principal = identity.removeprefix("spiffe://") if port.mode is not MutualTlsMode.DISABLE else ""
    return _judged(port.access, Call(principal, port.port, unknown=frozenset(unknown)), where)


def connection_at_gateway(view: ProxyView, connection: Connection) -> Judged:
    """What the policies of a gateway say of a client's connection."""
    if not isinstance(view, GatewayView):
        return Judged()
    access = next((one.access for one in view.ports if one.port == connection.port), Access())
    unknown = frozenset(_ADDRESSES - {Attribute.SNI})
    return _judged(access, Call("", connection.port, sni=connection.server_name, unknown=unknown), view.proxy)


def _http(method: str, host: str, path: str, headers: dict[str, str]) -> HttpCall:
    named = {name.lower(): (value,) for name, value in headers.items() if name.lower() != "host"}
    return HttpCall(method, host_as_asked(host), normalised_path(path) or path, named)


def _unknown(headers: Mapping[str, str]) -> set[Attribute]:
    """What a description does not say. Of a token that is sent nobody here knows whether it is good."""
    names = {name.lower() for name in headers}
    return set(_ADDRESSES) | (set(_OF_TOKENS) if "authorization" in names else set())


def _judged(access: Access, call: Call, where: str) -> Judged:
    if not (access.policies or access.closed):
        return Judged()
    verdict = verdict_on(access, call)
    by = decider_of(verdict)
    named = f" by {by.object} ({by.source})" if by is not None else ""
    if verdict.depends:
        return Judged((f"not known: {verdict.reason}{named}", *notes_of(verdict)))
    texts = (f"{'allowed' if verdict.allowed else 'denied'}{named}: {verdict.reason}", *notes_of(verdict))
    return Judged(texts, None if verdict.allowed else _cause(f"{where}: {verdict.reason}", by))


def _cause(text: str, by: Decider | None, fix: str = "") -> Cause:
    return Cause(CODE, text, by.object if by else "", by.source if by else "", fix)


# -- requests that proxies noted ---------------------------------------------------------------------------------------


def denied_cause(facts: Facts, noted: Noted) -> Cause | None:
    """Which policy denied a request (or connection) that a proxy noted; None if none did."""
    rule_id = denied_by(noted.seen)
    if rule_id is None:
        return None
    places = list(_places(facts, noted))
    caller = noted.seen.peer or "a caller without a certificate"
    what = f"{noted.seen.method} {noted.seen.path}" if noted.seen.method else "a connection"
    text, by = _named(rule_id, places)
    return _cause(f"{noted.proxy} denied {what} from {caller}: {text}", by, _question(facts, noted, places))


def denied_by(seen: RequestSeen) -> str | None:
    """The name of the rule that denied it, ``none`` where it is that no rule allowed it."""
    found = _MATCHED.search(f"{seen.details} {seen.failure}")
    return (found[1] or _NONE) if found is not None else None


def _places(facts: Facts, noted: Noted) -> Iterator[Place]:
    """Where it was denied: the port that the cluster's name has, or all of the proxy's."""
    workload = facts.workload(noted.proxy)
    if workload is None:
        return
    parts = noted.seen.cluster.split("|")
    port = int(parts[1]) if len(parts) > 1 and parts[0] == "inbound" and parts[1].isdecimal() else None
    for place in places_of(facts.mesh, workload, Memo()):
        if place.gateway or port in (None, place.port):
            yield place


def _named(rule_id: str, places: list[Place]) -> tuple[str, Decider | None]:
    """A rule by its name in proxies, in words and with the line where it is written now."""
    for place in places:
        for closed in place.access.closed:
            if closed.rule_id == rule_id:
                return f"it is closed: {closed.reason}", decider_of(Verdict(allowed=False, reason="", policy=closed))
        for policy, rule in _rules(place.access):
            if policy.rule_id(rule) == rule_id:
                verdict = Verdict(allowed=False, reason="", policy=policy, rule=rule)
                return f"rule {rule.number} of a DENY policy matches it ({rule_text(rule)})", decider_of(verdict)
    if rule_id == _NONE:
        allowing = [policy for place in places for policy in place.access.enforced(Action.ALLOW)]
        names = ", ".join(dict.fromkeys(str(policy.object) for policy in allowing))
        by = decider_of(Verdict(allowed=False, reason="", policy=allowing[0])) if allowing else None
        return f"no rule of an ALLOW policy matches it{f' ({names})' if names else ''}", by
    kind, _, rest = rule_id.removeprefix("closed/").partition("/")
    name, slash, number = rest.rpartition("/")
    if rule_id.startswith("closed/") or not slash:
        return f"{kind} {rest} denies it, and is not in force any more" if rest else rule_id, None
    return f"rule {number} of {kind} {name} matches it, and is not in force any more", Decider(f"{kind} {name}", "")


def _rules(access: Access) -> Iterator[tuple[AccessPolicy, AccessRule]]:
    for policy in access.policies:
        for rule in policy.rules:
            yield policy, rule


def _question(facts: Facts, noted: Noted, places: list[Place]) -> str:
    """The command that asks the same of the policies in force now."""
    workload = facts.workload(noted.proxy)
    if workload is None or not places:
        return ""
    name, _, namespace = noted.seen.peer.partition(".")
    caller = f"{namespace}/{name}" if namespace else "outside" if places[0].gateway else "nobody"
    if caller not in ("outside", "nobody") and workload_of(facts.mesh, caller, namespace) is None:
        return ""
    words = ["weft", "authz", "check", caller, f"{workload.namespace}/{workload.name}:{places[0].port}"]
    if noted.seen.method.isalpha():
        words += ["--method", noted.seen.method, "--path", noted.seen.path or "/"]
    return shlex.join(words)
