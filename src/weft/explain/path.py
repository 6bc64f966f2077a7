"""The path of a request through the compiled mesh: the proxy that sends it, and the one before the application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from weft.explain.actions import action_texts, overload_texts, policy_texts, resilience_texts
from weft.explain.answer import Cause, EndpointState, Hop, Share, Tried
from weft.explain.conditions import match_text, misses
from weft.explain.denied import Judged
from weft.explain.facts import Facts, Question, decider, target_of
from weft.explain.limited import limit_texts
from weft.explain.matching import Request, request_matches
from weft.explain.verdict import Verdict, host_of, verdict_of
from weft.mesh.access.attachment import port_accesses
from weft.mesh.access.limits import LimitPolicy
from weft.mesh.memo import Memo
from weft.mesh.policies.ratelimitpolicy import limits_before
from weft.mesh.policies.servicepolicies import overloads_of
from weft.mesh.routes.rules import Forward, Rule, VirtualHost
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import (
    Backend,
    Endpoint,
    Frontend,
    Health,
    MutualTls,
    MutualTlsMode,
    PerEndpoint,
    Target,
    Tls,
    Transport,
)
from weft.mesh.sidecars.inbound import build_inbound, with_accesses, with_overloads
from weft.mesh.views import GatewayView, InboundPort
from weft.model.workload import Workload, WorkloadState
from weft.xds.services.names import cluster_name, inbound_cluster_name

_ACCEPTS = {
    MutualTlsMode.STRICT: "mutual TLS only",
    MutualTlsMode.PERMISSIVE: "mutual TLS and plaintext",
    MutualTlsMode.DISABLE: "plaintext only",
}
_MOST_TRIED = 50


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """What the first proxy does: the `host` whose rules are tried (None: nobody's), the `rule` that decides, the
    `verdict`, the `targets` that it could go to, most likely first, and all that as a hop."""

    host: VirtualHost | None
    rule: Rule | None
    verdict: Verdict
    targets: tuple[Target, ...]
    hop: Hop


def outgoing(facts: Facts, question: Question) -> Outgoing:
    """What the caller's proxy does with the request."""
    view, request = question.view, question.request
    side = "gateway" if isinstance(view, GatewayView) else "outbound"
    proxy = question.caller.proxy
    found = host_of(view, request)
    if isinstance(found, Verdict):
        hop = Hop(proxy, side)
        return Outgoing(None, None, found, (), hop)
    rule = next((one for one in found.rules if request_matches(one.match, request)), None)
    tried = _tried(found, rule, request)
    if rule is None:
        return Outgoing(found, None, Verdict(status=404), (), Hop(proxy, side, tried=tried))
    verdict = verdict_of(rule, request)
    split, targets = _split(question, rule)
    first = targets[0] if targets else None
    hop = Hop(
        proxy=proxy,
        side=side,
        rule=decider(rule.object, rule.origin),
        match=match_text(rule.match),
        does=tuple(_does(facts, rule, verdict, first)),
        tried=tried,
        split=split,
        cluster=cluster_name(first.backend.key) if first else "",
        transport=transport_text(first.backend.transport) if first else "",
        endpoints=tuple(one for target in targets for one in endpoint_states(facts, target)),
    )
    return Outgoing(found, rule, verdict, targets, hop)


def _does(facts: Facts, rule: Rule, verdict: Verdict, first: Target | None) -> Iterator[str]:
    yield from limit_texts(_limits(facts, rule))
    yield from action_texts(rule, verdict)
    yield from _backend_texts(first.backend) if first else ()


def _limits(facts: Facts, rule: Rule) -> tuple[LimitPolicy, ...]:
    """The policy whose limits hold for a rule at a gateway."""
    every = dict.fromkeys(facts.mesh.limits.by_target.values())
    return tuple(policy for policy in every if policy.name == rule.limited)


def _tried(host: VirtualHost, deciding: Rule | None, request: Request) -> tuple[Tried, ...]:
    """The rules in the order they are tried, up to the one that decides."""
    found = []
    for rule in host.rules[:_MOST_TRIED]:
        why = () if rule is deciding else misses(rule.match, request)
        found.append(Tried(decider(rule.object, rule.origin), rule.name, match_text(rule.match), why))
        if rule is deciding:
            break
    return tuple(found)


def _backend_texts(backend: Backend) -> tuple[str, ...]:
    return (*policy_texts(backend.policy), *resilience_texts(backend.resilience))


def _split(question: Question, rule: Rule) -> tuple[tuple[Share, ...], tuple[Target, ...]]:
    """Where the requests of a rule go, and what the proxy knows of each; the largest share first."""
    if not isinstance(rule.action, Forward):
        return (), ()
    total = sum(one.weight for one in rule.action.backends)
    shares, targets = [], []
    for one in sorted(rule.action.backends, key=lambda each: -each.weight):
        if not one.weight:
            continue
        if one.backend is None:
            shares.append(Share("", one.weight / total))
            continue
        key = one.backend
        shares.append(Share(cluster_name(key), one.weight / total, key.host, key.port, key.subset))
        target = target_of(question.view, key)
        if target is not None:
            targets.append(target)
    return tuple(shares), tuple(targets)


def transport_text(transport: Transport) -> str:
    """How a connection is protected."""
    match transport:
        case MutualTls(identities):
            names = ", ".join(map(str, identities[:3])) + (" and others" if len(identities) > 3 else "")
            return f"mutual TLS; the other side must be {names}" if names else "mutual TLS; nobody can be there"
        case PerEndpoint():
            return "mutual TLS to endpoints that accept it, plaintext to the others"
        case Tls():
            return _tls_text(transport)
    return "plaintext"


def _tls_text(tls: Tls) -> str:
    """TLS with a server outside: what is asked for, checked and shown."""
    if tls.unusable:
        return "TLS that believes nobody: its authorities are missing"
    asked = tls.sni or "the host of the request"
    names = " or ".join(name.value for name in tls.names[:3]) + (" or others" if len(tls.names) > 3 else "")
    secret = f"the Secret {tls.credential}"
    if tls.insecure:
        checked = "whose certificate is not checked"
    else:
        vouching = "the policy" if tls.authorities else secret if tls.credential else "its own machine"
        named = names or (asked if not tls.sni else "any name")
        checked = f"which must prove {named} by the authorities of {vouching}"
    shown = f"; the proxy shows the certificate of {secret}" if tls.proves and tls.credential else ""
    return f"TLS with a server outside, asked for as {asked}, {checked}{shown}"


def _named_state(facts: Facts, endpoint: Endpoint) -> EndpointState:
    """An instance whose name is looked up."""
    missing = endpoint.address.host in facts.unresolved
    note = "the control plane's host cannot resolve it" if missing else "found by DNS at the caller's proxy"
    return EndpointState(str(endpoint.address), "", "unknown", note=note)


def endpoint_states(facts: Facts, target: Target) -> tuple[EndpointState, ...]:
    """The instances behind a backend, and those that its service selects but that cannot be chosen."""
    backend = target.backend
    if backend.by_caller:
        note = "the host that is called, found by DNS at the caller's proxy"
        return (EndpointState(backend.key.host, "", "unknown", note=note),)
    if target.endpoints is None:
        return tuple(_named_state(facts, one) for one in backend.dns)
    members = target.endpoints
    later = {one: group.priority for group in members.groups for one in group.endpoints if group.priority}
    found = [_ranked(_state(facts, one), later.get(one, 0)) for one in members.endpoints]
    for key, others in zip(backend.resilience.fallbacks, members.fallbacks, strict=True):
        found += [_standing_in(_state(facts, one), key[0]) for one in others]
    frontend = facts.mesh.catalog.by_host.get(backend.key.host)
    if frontend is not None:
        known = {one.workload for one in members.endpoints}
        found += [_absent(frontend, target, one) for one in facts.selected(frontend) if one.proxy not in known]
    return tuple(found)


def _ranked(state: EndpointState, priority: int) -> EndpointState:
    """An instance that others, nearer by, are called before."""
    return replace(state, note=state.note or "called when too few that are nearer are healthy") if priority else state


def _standing_in(state: EndpointState, host: str) -> EndpointState:
    """An instance of a fallback."""
    return replace(state, note=state.note or f"of {host}, called when none of the others is healthy")


def _state(facts: Facts, endpoint: Endpoint) -> EndpointState:
    workload = facts.workload(endpoint.workload)
    port = next((one for one in workload.ports if one.inbound == endpoint.address), None) if workload else None
    accepts = ""
    if workload is not None and port is not None:
        mode, _ = facts.mesh.peers.of(workload.namespace).decide(workload.labels, port.port)
        accepts = _ACCEPTS[mode]
    note = "" if endpoint.health is Health.HEALTHY else _WHY_NOT[endpoint.health]
    proxy = facts.proxy(workload.speaker if workload is not None else endpoint.workload)
    if workload is not None and proxy is None and facts.proxies is not None:
        note = note or "its proxy is not connected to the control plane"
    elif proxy is not None and proxy.certificate_expires < facts.now:
        note = "the certificate of its proxy has expired"
    return EndpointState(str(endpoint.address), endpoint.workload, str(endpoint.health), accepts, note)


_WHY_NOT = {
    Health.UNHEALTHY: "its application does not answer its health check, or its Envoy is away",
    Health.DRAINING: "it is being stopped",
}


def _absent(frontend: Frontend, target: Target, workload: Workload) -> EndpointState:
    """Why a workload that the service selects is no endpoint of the backend."""
    key = target.backend.key
    port = frontend.port(key.port)
    if workload.state is WorkloadState.STARTING:
        note = "it has not been healthy yet"
    elif port is not None and port_behind(frontend, port.target, workload) is None:
        has = ", ".join(f"{one.port} '{one.name}'" if one.name else str(one.port) for one in workload.ports)
        note = f"it has no port '{port.target}'; it has {has or 'none'}"
    elif key.subset:
        note = f"its labels are not those of subset '{key.subset}'"
    else:
        note = "it is not chosen"
    return EndpointState("", workload.proxy, str(workload.state), note=note)


def incoming(
    facts: Facts, target: Target, judge: Callable[[InboundPort, str], Judged], *, requests: bool = True
) -> tuple[Hop, Cause | None] | None:
    """What the proxy before the application does, of the first endpoint that could be chosen, with what is sent on to
    it. `judge` asks the policies before a port of a proxy; the cause tells of one that denies it. `requests`: it is a
    request, which limits count."""
    if target.endpoints is None:
        return None
    later = {one: group.priority for group in target.endpoints.groups for one in group.endpoints}
    ordered = sorted(target.endpoints.endpoints, key=lambda one: (one.health is not Health.HEALTHY, later.get(one, 0)))
    for endpoint in ordered:
        workload = facts.workload(endpoint.workload)
        if workload is None:
            continue
        port = inbound_port(facts, workload, endpoint)
        if port is not None:
            mode, places = facts.mesh.peers.of(workload.namespace).decide(workload.labels, port.port)
            frontend = facts.mesh.catalog.by_host.get(target.backend.key.host)
            by = f" ({places[0]})" if places else " (the default)"
            judged = judge(port, workload.proxy)
            limits = limits_before(facts.mesh.limits, (frontend,) if frontend else (), workload)
            counted = dict.fromkeys(each for policies in limits for each in policies)
            counted = counted if requests else {}
            spared = tuple(overload_texts(port.overload)) if port.overload and requests else ()
            hands = () if judged.cause else (*spared, f"hands it to the application at {port.application}")
            hop = Hop(
                proxy=workload.proxy,
                side="inbound",
                rule=decider(frontend.key, frontend.origin) if frontend else None,
                match=f"port {port.port}, protocol {port.protocol}",
                does=(f"accepts {_ACCEPTS[mode]}{by}", *limit_texts(counted), *hands),
                cluster=inbound_cluster_name(port.port),
                transport=_ACCEPTS[mode],
                endpoints=(EndpointState(str(port.application), workload.proxy, str(endpoint.health)),),
                verdicts=judged.texts,
            )
            return hop, judged.cause
    return None


def inbound_port(facts: Facts, workload: Workload, endpoint: Endpoint) -> InboundPort | None:
    """The port of a workload at which an endpoint accepts."""
    mesh, namespace = facts.mesh, workload.namespace
    frontends = mesh.catalog.selecting(namespace, workload.labels)
    accesses = port_accesses(Memo(), mesh.access.of(namespace), mesh.settings.trust_domain, frontends, workload)
    overloads = overloads_of(mesh.service_policies, frontends, workload)
    ports = with_overloads(build_inbound(frontends, workload, mesh.peers.of(namespace)), overloads)
    ports = with_accesses(ports, accesses)
    return next((one for one in ports if one.listen == endpoint.address), None)
