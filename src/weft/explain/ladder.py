"""The ladder of a request that failed: what each proxy on its way noted, and why, with what the mesh says of it now."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from weft.explain.answer import Answer, Cause, Decider, Explanation, Hop
from weft.explain.asked import asked_causes
from weft.explain.causes import cause_of, expired, fault_fix, most_telling, proxy_causes, target_causes
from weft.explain.denied import CODE, denied_cause
from weft.explain.explanation import changes_about
from weft.explain.facts import Facts
from weft.explain.flags import FLAGS, failure_text, flags_of, meaning
from weft.explain.journal import Noted
from weft.explain.limited import limit_causes
from weft.explain.order import Ladder, ladder_of
from weft.explain.path import endpoint_states, transport_text
from weft.explain.tokens import token_cause
from weft.mesh.memo import Memo
from weft.mesh.services.backends import build_caller_targets
from weft.mesh.services.service import BackendKey, Target
from weft.model.origin import Origin

_MOST_HOPS = 60
_USUAL_TRIES = 3
_SLOW_MS = 1000
_OF_RULES = frozenset(
    ("overload", "calls-time-out", "fault-in-force", "no-route-for-calls", "tries-used-up", "rate-limited", "denied")
)
"""What a document decides; the rest happens between proxies."""
_OF_APPLICATIONS = frozenset(("application-error", "slow-application"))
_CLOCKS = 5.0
"""Seconds by which the clocks of hosts may differ."""


def explain_requests(facts: Facts, found: Iterable[Noted], instant: Callable[[float], str]) -> Explanation:
    """What proxies noted of one request, or of the requests of one trace, as hops in the order in which they began.
    `instant` writes a time."""
    ladder = ladder_of(sorted(found, key=lambda one: one.seen.time)[:_MOST_HOPS])
    hops = tuple(_hop(facts, one, instant) for one in ladder.steps)
    causes: list[Cause] = []
    for index in reversed(range(len(ladder.steps))):  # the one furthest down is where it began
        one = ladder.steps[index]
        explained = _explained(ladder, index)
        causes += (_less(cause) if explained else cause for cause in _seen_causes(facts, one))
        causes += _now_causes(facts, one)
    listed = most_telling(causes)
    concerned = {cause.object for cause in listed} | {hop.rule.object for hop in hops if hop.rule}
    before = instant(max(one.seen.time for one in ladder.steps) + _CLOCKS)
    changed = tuple(one for one in changes_about(facts, concerned) if one.time <= before)
    return Explanation(_answer(ladder.steps), hops, changed, listed)


def _explained(ladder: Ladder, index: int) -> bool:
    """Whether what was called below accounts for what this one noted: it failed too, or took most of the time."""
    here = ladder.steps[index].seen
    below = [ladder.steps[each].seen for each in ladder.below.get(index, ())]
    return any(one.failed if here.failed else one.duration_ms >= here.duration_ms / 2 for one in below)


def _less(cause: Cause) -> Cause:
    """A cause that something below accounts for."""
    return replace(cause, severity="note")


def noted_causes(facts: Facts, found: Iterable[Noted]) -> tuple[tuple[Noted, Cause, int], ...]:
    """Why these requests failed, each reason once at each proxy, with a request that it is of and how many there are;
    the most frequent first. No application is named that only waited for what it called, or passed its error on."""
    counted: dict[tuple[str, ...], tuple[Noted, Cause, int]] = {}
    for ladder in _ladders(found):
        for index, one in enumerate(ladder.steps):
            explained = _explained(ladder, index)
            for cause in _seen_causes(facts, one):
                if explained and cause.code in _OF_APPLICATIONS:
                    continue
                key = (one.proxy, cause.code, cause.object, cause.source, one.seen.peer if cause.code == CODE else "")
                noted, first, count = counted.get(key, (one, cause, 0))
                counted[key] = (noted, first, count + 1)
    return tuple(sorted(counted.values(), key=lambda each: -each[2]))


def _ladders(found: Iterable[Noted]) -> Iterator[Ladder]:
    """What belongs to one request, together; in the order given."""
    groups: dict[str, list[Noted]] = {}
    for index, one in enumerate(found):
        groups.setdefault(one.seen.id or f"{index}", []).append(one)
    for group in groups.values():
        yield from (ladder_of(group[start : start + _MOST_HOPS]) for start in range(0, len(group), _MOST_HOPS))


def backend_of(cluster: str) -> BackendKey | None:
    """The backend of a cluster's name, ``outbound|PORT|SUBSET|HOST``."""
    parts = cluster.split("|")
    if len(parts) < 4 or parts[0] != "outbound" or not parts[1].isdecimal():
        return None
    return BackendKey(parts[3], int(parts[1]), parts[2])


def _answer(steps: Sequence[Noted]) -> Answer:
    first = steps[0].seen
    what = f"{first.method} {first.host}{first.path}" if first.method else "a connection"
    failed = [one for one in steps if one.seen.failed]
    deepest = next((one for one in reversed(failed or steps) if meaning(one.seen)), None)
    why = f": {meaning(deepest.seen)} (as {deepest.proxy} saw it)" if deepest is not None else ""
    if not failed:
        return Answer("answered", f"{what} took {first.duration_ms:g} ms{why}", first.status or None)
    got = f"got {first.status}" if first.status else "got no answer"
    return Answer("failed", f"{what} {got}{why}", first.status)


def _hop(facts: Facts, noted: Noted, instant: Callable[[float], str]) -> Hop:
    seen = noted.seen
    target = _target(facts, noted)
    endpoints = endpoint_states(facts, target) if target is not None else ()
    return Hop(
        proxy=noted.proxy,
        side=seen.side,
        rule=Decider(seen.object, seen.source) if seen.object or seen.source else None,
        match=_call(noted),
        cluster=seen.cluster,
        transport=transport_text(target.backend.transport) if target is not None else "",
        endpoints=endpoints,
        time=instant(seen.time),
        duration_ms=seen.duration_ms,
        status=seen.status or None,
        flags="" if seen.flags == "-" else seen.flags,
        meaning=meaning(seen),
        verdicts=_verdicts(facts, noted),
        upstream=seen.upstream if seen.side == "inbound" else f"{seen.upstream} {seen.peer}".strip(),
        attempts=seen.attempts,
    )


def _verdicts(facts: Facts, noted: Noted) -> tuple[str, ...]:
    """Which policy denied it, or that its token was refused."""
    denied = token_cause(facts, noted) or denied_cause(facts, noted)
    return (f"{denied.text}{f' ({denied.object}, {denied.source})' if denied.object else ''}",) if denied else ()


def _call(noted: Noted) -> str:
    """The request, and who it came from where its proxy knows."""
    seen = noted.seen
    if not seen.method:
        return ""
    caller = f" from {seen.peer}" if seen.side == "inbound" and seen.peer else ""
    return f"{seen.method} {seen.host}{seen.path}{caller}"


def _target(facts: Facts, noted: Noted) -> Target | None:
    """The backend as the proxy that noted it uses it."""
    key, workload, mesh = backend_of(noted.seen.cluster), facts.workload(noted.proxy), facts.mesh
    if key is None:
        return None
    frontend, rules = mesh.catalog.by_host.get(key.host), mesh.destination_rules
    if workload is None or frontend is None:
        return mesh.targets.by_key.get(key)
    chosen = rules.chosen(workload.namespace, workload.labels)
    own = rules.find(workload.namespace, frontend, chosen)
    if own is rules.find("", frontend):
        return mesh.targets.by_key.get(key)
    callers = (mesh.targets, mesh.services, rules, workload.namespace, mesh.service_policies, chosen)
    return build_caller_targets(Memo(), *callers).get(key)


def _seen_causes(facts: Facts, noted: Noted) -> Iterator[Cause]:
    """What the proxy noted, as causes."""
    seen = noted.seen
    where = f"proxy {noted.proxy}"
    failure = failure_text(f"{seen.failure} {seen.details}")
    flags = flags_of(seen)
    refusals = _refusals(facts, noted)
    if refusals:
        yield from refusals
        return
    if "certificate" in failure and "expired" in failure:
        yield _expired(facts, noted, failure)
        flags = ()
    for name in flags if len(flags) == 1 else [flag for flag in flags if flag != "URX"]:
        flag = FLAGS.get(name)
        if flag is None:
            continue
        code, about, source = flag.code, seen.object, seen.source or where
        if failure:
            code = "certificate-refused" if "certificate" in failure else "tls-mismatch" if "TLS" in failure else code
        if name == "UO":
            about, source = _bounds(facts, noted) or (about, source)
        if code not in _OF_RULES:
            about, source = "", where
        if name == "UH" and (outside := _outside(facts, noted)) is not None:
            yield outside
            continue
        to = f" ({seen.upstream})" if seen.upstream and source == where else ""
        text = f"{noted.proxy} {seen.side}: {flag.text}{f': {failure}' if failure else ''}{to}"
        severity = "warning" if code in ("fault-in-force", "client-gone") else "error"
        yield Cause(code, text, about, source, _fix(facts, noted, code, about) or flag.fix, severity)
    yield from _application_causes(noted)
    if seen.attempts > _USUAL_TRIES:
        text = f"{noted.proxy} tried {seen.attempts} times, which multiplies the load on what is failing"
        yield Cause("retry-storm", text, seen.object, seen.source or where, severity="warning")


def _application_causes(noted: Noted) -> Iterator[Cause]:
    """What the application behind the proxy did."""
    seen, where = noted.seen, f"proxy {noted.proxy}"
    if seen.side == "inbound" and seen.status >= 500 and not flags_of(seen):
        text = f"the application of {noted.proxy} answered {seen.status} itself, after {seen.duration_ms:g} ms"
        yield Cause("application-error", text, source=where, fix=f"weft logs {noted.proxy.split('.')[0]}")
    if seen.side == "inbound" and not seen.failed and seen.duration_ms >= _SLOW_MS:
        text = f"the application of {noted.proxy} took {seen.duration_ms:g} ms to answer"
        yield Cause("slow-application", text, source=where, severity="warning")


def _refusals(facts: Facts, noted: Noted) -> tuple[Cause, ...]:
    """Why policies, or who is asked, have refused a request; nothing where they have not."""
    denied = token_cause(facts, noted) or denied_cause(facts, noted)
    return (denied,) if denied is not None else (*asked_causes(facts, noted), *limit_causes(facts, noted))


def _fix(facts: Facts, noted: Noted, code: str, about: str) -> str:
    """What to do, where more is known than the flag says."""
    seen = noted.seen
    if code == "fault-in-force" and about:
        return fault_fix(facts, about)
    if code == "no-route-for-calls" and seen.method.isalpha() and seen.host:
        caller, _, namespace = noted.proxy.partition(".")
        url = shlex.quote(f"http://{seen.host}{seen.path}")
        return f"weft explain --from {namespace}/{caller} {shlex.quote(seen.method)} {url}"
    return ""


def _expired(facts: Facts, noted: Noted, failure: str) -> Cause:
    """A certificate that is not valid any more: this proxy's, or that of the one on the other side."""
    ours = "this proxy's" in failure
    other = next(
        (one for one in facts.mesh.workloads for port in one.ports if str(port.inbound) == noted.seen.upstream), None
    )
    workload = facts.workload(noted.proxy) if ours else other
    if workload is None:
        return Cause("certificate-expired", f"{noted.proxy}: {failure}", source=f"proxy {noted.proxy}")
    return expired(workload, f"proxy {workload.proxy}")


def _outside(facts: Facts, noted: Noted) -> Cause | None:
    """A service outside the mesh of which the proxy knows no address: DNS has none."""
    target = _target(facts, noted)
    if target is None or not target.backend.dns:
        return None
    backend = target.backend
    names = " or ".join(f"'{name}'" for name in backend.dns_names())
    text = f"{noted.proxy} {noted.seen.side}: DNS has no address for {names}, as this proxy sees it"
    fix = "the right externalName" if backend.object.kind == "Service" else "the right host or endpoint"
    return Cause("dns-fails", text, str(backend.object), str(backend.origins[0]), fix)


def _bounds(facts: Facts, noted: Noted) -> tuple[str, str] | None:
    """The DestinationRule whose bounds a request met."""
    target = _target(facts, noted)
    frontend = facts.mesh.catalog.by_host.get(target.backend.key.host) if target else None
    rule = facts.mesh.destination_rules.find(noted.workload.partition("/")[0], frontend) if frontend else None
    if rule is None:
        return None
    place: Origin = rule.at("spec", "trafficPolicy", "connectionPool")
    return str(rule.key), str(place)


def _now_causes(facts: Facts, noted: Noted) -> Iterator[Cause]:
    """What is wrong now with where the request went."""
    if not noted.seen.failed:
        return
    target = _target(facts, noted)
    if target is not None:
        yield from target_causes(facts, None, target)
    workload = facts.workload(noted.proxy)
    if workload is not None:
        yield from proxy_causes(facts, workload)
    keys = [document.key for document in facts.documents.values() if str(document.key) == noted.seen.object]
    yield from map(cause_of, facts.about(keys))
