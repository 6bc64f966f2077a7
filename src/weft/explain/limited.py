"""Rate limits explained: what they are, and which of them has refused a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.explain.answer import Cause
from weft.explain.facts import Facts
from weft.explain.journal import Noted
from weft.mesh.access.limits import Limit, LimitKey, LimitPolicy
from weft.mesh.policies.ratelimitpolicy import limits_before
from weft.mesh.services.workloads import gateway_of

DETAILS = ("local_rate_limited", "request_rate_limited", "rate_limiter_error")
"""How Envoy's details begin where a limit has refused a request."""
_UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_WORDS = {
    "address": "client address",
    "identity": "caller's identity",
    "path": "path",
    "method": "method",
    "host": "host",
}


def limit_causes(facts: Facts, noted: Noted) -> Iterator[Cause]:
    """The policies that may have refused a request; nothing where none has."""
    seen = noted.seen
    if not seen.details.startswith(DETAILS):
        return
    away = seen.details.startswith("rate_limiter_error")
    what = "its count could not be asked" if away else "the request was one too many"
    fix = "weft check; failureMode Open lets requests pass meanwhile" if away else "wait, or raise the limit"
    found = tuple(_policies(facts, noted))
    for policy in found:
        said = "; ".join(limit_text(limit) for limit in policy.limits)
        yield Cause("rate-limited", f"{noted.proxy}: {what}: {said}", str(policy.object), str(policy.origin), fix)
    if not found:
        yield Cause("rate-limited", f"{noted.proxy}: {what}", seen.object, seen.source or f"proxy {noted.proxy}", fix)


def _policies(facts: Facts, noted: Noted) -> Iterable[LimitPolicy]:
    workload = facts.workload(noted.proxy)
    limits = facts.mesh.limits
    if workload is None:
        return ()
    if workload.gateway is not None:
        own = limits.by_target.get(noted.seen.object)
        found = own or limits.by_target.get(f"Gateway {gateway_of(workload)}")
        return (found,) if found else ()
    frontends = facts.mesh.catalog.selecting(workload.namespace, workload.labels)
    every = limits_before(limits, frontends, workload)
    return dict.fromkeys(policy for port in every for policy in port)


def limit_texts(policies: Iterable[LimitPolicy]) -> Iterator[str]:
    """What policies do with requests."""
    for policy in policies:
        who = "the control plane counts" if policy.shared else "the proxy counts"
        does = "notes" if policy.dry_run else "answers 429 to"
        for limit in policy.limits:
            yield f"{does} more than {limit_text(limit)} ({who}; {policy.object}, {policy.origin})"


def limit_text(limit: Limit) -> str:
    """A limit in words."""
    at_once = f", {limit.burst} at once" if limit.burst != limit.requests else ""
    of = "" if limit.match.everything else " of those that match"
    apart = f" for each {', '.join(map(_key_text, limit.keys))}" if limit.keys else ""
    counted = "1 request" if limit.requests == 1 else f"{limit.requests} requests"
    return f"{counted}{of} a {_UNITS[limit.seconds]}{at_once}{apart} (limit '{limit.name}')"


def _key_text(key: LimitKey) -> str:
    return f"{key.kind} '{key.name}'" if key.name else _WORDS[key.kind]
