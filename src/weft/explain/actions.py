"""Actions of rules in words: what is done with a request, in the order in which it is done."""

from __future__ import annotations

from collections.abc import Iterator

from weft.explain.asked import guard_texts
from weft.explain.verdict import Verdict
from weft.mesh.routes.rules import SAFE_RETRY, Fault, Forward, HeaderChanges, Redirect, Respond, Retry, Rule
from weft.mesh.routes.sessions import backend_sessions
from weft.mesh.services.resilience import Overload, Resilience
from weft.mesh.services.service import TrafficPolicy
from weft.model.printable import printable
from weft.xds.services.names import cluster_name


def action_texts(rule: Rule, verdict: Verdict) -> tuple[str, ...]:
    """What the rule does with a request whose fate is `verdict`."""
    return tuple(printable(text, 400) for text in _texts(rule, verdict))


def _texts(rule: Rule, verdict: Verdict) -> Iterator[str]:
    if rule.cors is not None:
        yield "answers preflight requests of other origins (CORS)"
    yield from guard_texts(rule)
    if rule.fault is not None:
        yield from fault_texts(rule.fault)
    match rule.action:
        case Respond(status, _):
            yield f"answers {status} itself"
        case Redirect(status=status):
            yield f"redirects to {verdict.location} with {status}"
        case Forward() as forward:
            yield from _forward_texts(forward, rule, verdict)


def fault_texts(fault: Fault) -> Iterator[str]:
    """The faults that a rule injects."""
    if fault.delay:
        yield f"delays {_percent(fault.delay_percent)} of the requests by {fault.delay:g} s"
    if fault.abort_http is not None:
        yield f"answers {_percent(fault.abort_percent)} of the requests with {fault.abort_http} itself"
    if fault.abort_grpc is not None:
        yield f"answers {_percent(fault.abort_percent)} of the requests with gRPC status {fault.abort_grpc}"


def _forward_texts(forward: Forward, rule: Rule, verdict: Verdict) -> Iterator[str]:
    yield from (f"{text} (request)" for change in verdict.request for text in _change_texts(change))
    rewrites = [rule.action.path_rewrite, *[item.path_rewrite for item in forward.backends]]  # type: ignore[union-attr]
    if any(rewrites) and verdict.path:
        yield f"asks for the path {verdict.path}"
    if forward.host_rewrite or any(item.host_rewrite for item in forward.backends):
        yield f"asks for the host {verdict.host}"
    if forward.timeout:
        yield f"gives up after {forward.timeout:g} s (504)"
    elif forward.timeout is None:
        yield "sets no time limit"
    sessions = backend_sessions(forward) if forward.session is None else (forward.session,)
    for session in dict.fromkeys(each for each in sessions if each is not None):
        yield f"keeps sessions at their instance, by a {session.kind} called {session.name}"
    yield retry_text(forward)
    for mirror in forward.mirrors:
        yield f"sends a copy of {_percent(mirror.percent)} of the requests to {cluster_name(mirror.backend)}"
    yield from (f"{text} (answer)" for change in verdict.response for text in _change_texts(change))


def retry_text(forward: Forward) -> str:
    """How often a request is tried again, and when."""
    retry: Retry = SAFE_RETRY if forward.retry is None else forward.retry
    limit = retry.per_try_timeout or forward.per_try_timeout
    within = f", each try within {limit:g} s" if limit else ""
    if not retry.attempts:
        return f"does not try again{within}"
    when = ", ".join((*retry.conditions, *map(str, retry.codes)))
    again = "once" if retry.attempts == 1 else f"{retry.attempts} times"
    hedged = ", and a try of GET, HEAD or OPTIONS that takes longer goes on beside the next" if forward.hedge else ""
    default = " (the default: only what cannot have been processed)" if forward.retry is None else ""
    return f"tries again up to {again} on {when}{default}{within}{hedged}"


def policy_texts(policy: TrafficPolicy) -> Iterator[str]:
    """What a DestinationRule says that can refuse a request: bounds and ejection."""
    limits = policy.limits
    for value, text in (
        (limits.max_connections, "connections"),
        (limits.max_pending_requests, "requests that wait for a connection"),
        (limits.max_requests, "requests at once"),
        (limits.max_retries, "retries at once"),
    ):
        if value is not None:
            yield f"at most {value} {text} to all endpoints; more get 503 (UO)"
    if policy.ejection is not None and policy.ejection.consecutive_5xx:
        yield f"an endpoint that answers {policy.ejection.consecutive_5xx} times in a row with 5xx is left alone"


def resilience_texts(resilience: Resilience) -> Iterator[str]:
    """What policies for a service say that can have its endpoints left alone, or others stand in for them."""
    health, comparison = resilience.health, resilience.comparison
    if health is not None:
        what = f"{health.protocol} {health.path}".rstrip()
        failures = f"{health.unhealthy_threshold} failures, and it is left alone"
        yield f"checks each endpoint every {health.interval:g} s ({what}); {failures}"
    if comparison is not None and comparison.success_rate is not None:
        yield "an endpoint that succeeds much less often than the others is left alone"
    if comparison is not None and comparison.failure_percentage is not None:
        yield f"an endpoint that fails {comparison.failure_percentage.threshold} % of its calls is left alone"
    if resilience.fallbacks:
        when = f"less than {resilience.below} % of the endpoints are" if resilience.below else "no endpoint is"
        yield f"calls {', then '.join(host for host, *_ in resilience.fallbacks)} instead when {when} healthy"


def overload_texts(overload: Overload) -> Iterator[str]:
    """What is refused on an application's behalf."""
    if overload.admission is not None:
        admission = overload.admission
        yield f"refuses some requests (503) when less than {admission.threshold} % of the others succeed"
    if overload.concurrency is not None:
        yield "refuses what would make the application slower (503)"


def _change_texts(change: HeaderChanges) -> Iterator[str]:
    yield from (f"sets header {name}" for name, _ in change.set)
    yield from (f"adds header {name}" for name, _ in change.add)
    yield from (f"removes header {name}" for name in change.remove)


def _percent(value: float) -> str:
    return f"{value:g} %"
