"""Authorization asked for by name: may this caller call that place, by which policy, and which policies there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from weft.explain.answer import Decider
from weft.explain.asked import met_at
from weft.explain.callers import Called, Caller, Place, called_of, caller_of, gateways_of, leads_to
from weft.mesh.access.call import NO_HEADERS, Call, Headers, HttpCall
from weft.mesh.access.paths import host_as_asked, normalised_path
from weft.mesh.access.policy import AccessPolicy, AccessRule, Action, Attribute, Closed
from weft.mesh.access.verdict import Verdict, verdict_on
from weft.mesh.access.words import policy_word, rule_text
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.service import MutualTlsMode, Protocol

_CONNECTIONS = (Protocol.TCP,)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: may `caller` call `to`, with this request? Names as people write them; `claims` of a token."""

    caller: str
    to: str
    method: str = "GET"
    path: str = "/"
    headers: Headers = field(default_factory=lambda: NO_HEADERS)
    claims: Mapping[str, object] | None = None
    source_ip: str = ""
    namespace: str = "default"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The answer. `policy` decides (None: no policy asks anything); `notes` say more: dry runs, providers that are
    asked, what clients of a gateway have to show, workloads that differ."""

    allowed: bool
    policy: Decider | None
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedRule:
    """A rule in words, and where it is written."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class ListedPolicy:
    """A policy in force at a place: its action in words, its object and place, its rules."""

    action: str
    object: str
    source: str
    rules: tuple[ListedRule, ...]


@dataclass(frozen=True, slots=True)
class ListedPlace:
    """The policies of one port, in the order in which they are asked. `default` says what becomes of calls that no
    rule matches. `meets`: what clients of a gateway have to show besides, and who else is asked about them."""

    workload: str
    port: int
    protocol: str
    policies: tuple[ListedPolicy, ...]
    default: str
    meets: tuple[str, ...] = ()


def check(mesh: Mesh, asked: Asked) -> Allowance:
    """Whether a call is allowed. Of several workloads behind a service all must allow it. Raises UnknownNameError."""
    memo = Memo()
    caller = caller_of(mesh, asked.caller, asked.namespace)
    called = called_of(mesh, asked.to, asked.namespace, memo)
    if not called.places:
        return Allowance(allowed=False, policy=None, reason=f"{asked.to} has no port that could be called")
    path = normalised_path(asked.path)
    if path is None and any(place.protocol not in _CONNECTIONS for place in called.places):
        return Allowance(allowed=False, policy=None, reason="the proxy refuses this path with 400, whoever calls")
    if caller.outside and not called.places[0].gateway:
        return _from_outside(mesh, asked, called, path or "", memo)
    return _strictest(_at(place, caller, asked, path or "") for place in called.places)


def _at(place: Place, caller: Caller, asked: Asked, path: str) -> Allowance:
    """The answer at one place."""
    if place.mode is MutualTlsMode.STRICT and caller.identity is None:
        reason = f"port {place.port} of {place.workload} accepts mutual TLS only, and the caller has no certificate"
        return Allowance(allowed=False, policy=None, reason=reason)
    if place.mode is MutualTlsMode.DISABLE:
        caller = Caller(caller.text)  # there is nobody's certificate in plaintext
    call = _call(place, caller, asked, path)
    found = _allowance(verdict_on(place.access, call), place)
    return replace(found, notes=(*found.notes, *place.meets)) if found.allowed else found


def _call(place: Place, caller: Caller, asked: Asked, path: str) -> Call:
    headers = {name.lower(): values for name, values in asked.headers.items()}
    host = host_as_asked(",".join(headers.pop("host", ())))
    unknown = {Attribute.SNI}
    unknown |= set() if host else {Attribute.HOST}
    unknown |= set() if asked.source_ip else {Attribute.SOURCE_IP, Attribute.REMOTE_IP}
    unknown |= set() if place.address else {Attribute.DESTINATION_IP}
    connection = place.protocol in _CONNECTIONS
    request = None if connection else HttpCall(asked.method.upper(), host, path, headers, asked.claims)
    return Call(
        principal=caller.principal,
        port=place.port,
        http=request,
        source_ip=asked.source_ip,
        destination_ip=place.address,
        unknown=frozenset(unknown),
    )


def _from_outside(mesh: Mesh, asked: Asked, called: Called, path: str, memo: Memo) -> Allowance:
    """Through the gateways that lead there: the gateway must let the client in, and the service the gateway."""
    host = called.frontend.host if called.frontend is not None else ""
    denied: list[Allowance] = []
    for workload, view in gateways_of(mesh, memo):
        for port in view.ports:
            if not leads_to(port, host):
                continue
            name = f"{workload.namespace}/{workload.name}"
            edge = Place(name, port.port, Protocol.HTTP, MutualTlsMode.DISABLE, port.access, "", gateway=True)
            gateway = Caller(name, view.identity)
            inner = (_at(place, gateway, asked, path) for place in called.places)
            found = _strictest((_at(edge, Caller(asked.caller), asked, path), *inner))
            if found.allowed:
                through = f"through gateway {view.gateway}, port {port.port} (proxy {name})"
                notes = (through, *found.notes, *met_at(port, host))
                return Allowance(found.allowed, found.policy, found.reason, notes)
            denied.append(found)
    if denied:
        return denied[0]
    return Allowance(allowed=False, policy=None, reason=f"no gateway that runs has a route to {asked.to}")


def _strictest(answers: Iterable[Allowance]) -> Allowance:
    """The first that denies; else the first that names a policy."""
    found = list(answers)
    denied = [one for one in found if not one.allowed]
    if denied and len(denied) < len(found):
        first = denied[0]
        note = f"denied at {len(denied)} of {len(found)} places"
        return Allowance(first.allowed, first.policy, first.reason, (note, *first.notes))
    return next((one for one in denied or found if one.policy is not None), (denied or found)[0])


def _allowance(verdict: Verdict, place: Place) -> Allowance:
    return Allowance(verdict.allowed, decider_of(verdict), f"{verdict.reason} ({_where(place)})", notes_of(verdict))


def _where(place: Place) -> str:
    return f"{'gateway ' if place.gateway else ''}{place.workload} port {place.port}"


def decider_of(verdict: Verdict) -> Decider | None:
    """The policy that decides, at the line of its rule where one does."""
    if verdict.policy is None:
        return None
    origin = verdict.rule.origin if verdict.rule is not None else verdict.policy.origin
    return Decider(object_text(verdict.policy), str(origin))


def object_text(policy: AccessPolicy | Closed) -> str:
    """``KIND NAMESPACE/NAME``; of a setting, what it is."""
    return str(policy.object) if policy.object is not None else "setting"


def notes_of(verdict: Verdict) -> tuple[str, ...]:
    """What else is to be said of a verdict."""
    found = [f"asks {one.provider} before ({one.object}, {one.origin})" for one in verdict.asks]
    found += [f"noted by {one.object} ({one.origin})" for one in verdict.audited]
    for one in verdict.dry_run:
        by = f" by {one.policy.object} ({one.policy.origin})" if one.policy is not None else ""
        found.append(f"dry run of {one.action.value}: would be {'denied' if one.denied else 'allowed'}{by}")
    return tuple(found)


def listing(mesh: Mesh, text: str, namespace: str = "default") -> tuple[ListedPlace, ...]:
    """The policies at each port of a workload, or of the workloads behind a service. Raises UnknownNameError."""
    return tuple(_listed(place) for place in called_of(mesh, text, namespace, Memo()).places)


def _listed(place: Place) -> ListedPlace:
    access = place.access
    policies = [ListedPolicy("CLOSED", object_text(one), str(one.origin), (ListedRule(one.reason, str(one.origin)),))
                for one in access.closed]  # fmt: skip
    for action in Action:
        policies += [_policy(one) for one in access.policies if one.action is action]
    allow = access.enforced(Action.ALLOW)
    default = "denied: it is closed" if access.closed else "denied" if allow else "allowed"
    return ListedPlace(place.workload, place.port, str(place.protocol), tuple(policies), default, place.meets)


def _policy(policy: AccessPolicy) -> ListedPolicy:
    rules = tuple(ListedRule(_rule(rule), str(rule.origin)) for rule in policy.rules)
    return ListedPolicy(policy_word(policy), object_text(policy), str(policy.origin), rules)


def _rule(rule: AccessRule) -> str:
    return f"rule {rule.number}: {rule_text(rule)}"
