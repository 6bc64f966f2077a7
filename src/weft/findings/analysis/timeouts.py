"""Timeouts and retries, alone and along the paths of calls."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.analysis.subject import RuleAt, Subject, seconds, short
from weft.findings.finding import Finding, finding
from weft.mesh.routes.rules import SAFE_RETRY, Forward, Rule

_SAFE = frozenset(SAFE_RETRY.conditions)
_UNSAFE = frozenset(("5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes", "retriable-headers"))
_CHANGING = ("POST", "PATCH")
_AMPLIFIED = 9
"""Requests at the end of a path for one at its start: three tries, twice."""
_DEEPEST = 8
_PATHS = 20_000
_PATHS_TOLD = 20
"""How many paths are looked at, and how many of the worst are told."""


def timeout_below_tries(subject: Subject) -> Iterator[Finding]:
    """Routes whose timeout cuts off the tries that they ask for."""
    for one in subject.rules:
        forward = one.forward
        if forward is None or not forward.timeout or forward.retry is None:
            continue
        each = forward.retry.per_try_timeout or forward.per_try_timeout
        tries = forward.retry.attempts + 1
        if each and tries > 1 and forward.timeout < tries * each:
            text = f"timeout {seconds(forward.timeout)} is shorter than {tries} tries of {seconds(each)} each"
            yield _of(one, "timeout-below-tries", text)


def timeout_below_callee(subject: Subject) -> Iterator[Finding]:
    """Callers that wait less long than their callee waits for its own callees."""
    for one in subject.rules:
        forward = one.forward
        if forward is None or not forward.timeout:
            continue
        for callee in dict.fromkeys(item.backend.host for item in forward.backends if item.backend is not None):
            frontend = subject.mesh.catalog.by_host.get(callee)
            for further in sorted(subject.calls.get(callee, ())):
                rules = subject.rules_towards(frontend.namespace if frontend else one.namespace, further)
                longest = max(rules, key=_timeout, default=None)
                if longest is not None and _timeout(longest) > forward.timeout:
                    text = (
                        f"{short(callee)} is given {seconds(forward.timeout)}, and waits "
                        f"{seconds(_timeout(longest))} for {short(further)} itself ({longest.origin})"
                    )
                    yield _of(one, "timeout-below-callee", text)


def _timeout(rule: Rule) -> float:
    return (rule.action.timeout or 0.0) if isinstance(rule.action, Forward) else 0.0


def endless_timeout(subject: Subject) -> Iterator[Finding]:
    """Routes that ask for no bound."""
    for one in subject.rules:
        if one.forward is not None and one.forward.timeout == 0 and not one.forward.websocket:
            yield _of(one, "endless-timeout", f"timeout 0s for {short(one.host)}: a callee that hangs is waited for")


def unsafe_retry(subject: Subject) -> Iterator[Finding]:
    """Rules that may do twice what changes something."""
    for one in subject.rules:
        retry = one.forward.retry if one.forward is not None else None
        method = one.rule.match.method
        if retry is None or not retry.attempts or method is None or method.value not in _CHANGING:
            continue
        risky = [word for word in retry.conditions if word in _UNSAFE]
        if risky:
            text = f"{method.value} is retried on {', '.join(risky)}, where the first try may have been processed"
            yield _of(one, "unsafe-retry", text)


def retry_amplification(subject: Subject) -> Iterator[Finding]:
    """Paths along which tries multiply. Of each last service the worst path, and of these the worst."""
    worst: dict[str, tuple[int, tuple[str, ...], tuple[int, ...], Rule]] = {}
    budget = _PATHS
    stack: list[tuple[tuple[str, ...], tuple[int, ...]]] = [((host,), ()) for host in sorted(subject.calls)]
    while stack and budget:
        budget -= 1
        path, tries = stack.pop()
        for callee in sorted(subject.calls.get(path[-1], ())):
            if callee in path or len(path) >= _DEEPEST:
                continue
            count, rule = _tries(subject, path[-1], callee)
            here = ((*path, callee), (*tries, count))
            stack.append(here)
            product = _product(here[1])
            if rule is not None and product >= _AMPLIFIED and product > worst.get(callee, (0,))[0]:
                worst[callee] = (product, *here, rule)
    listed = sorted(worst.items(), key=lambda one: (-one[1][0], one[0]))
    for end, (product, path, tries, rule) in listed[:_PATHS_TOLD]:
        told = " x ".join(str(count) for count in tries if count > 1)
        text = (
            f"one request at {short(path[0])} may become {product} at {short(end)} when it fails "
            f"({told} tries along {' > '.join(map(short, path))})"
        )
        yield finding("retry-amplification", text, object=rule.object, origin=rule.origin)


def _tries(subject: Subject, caller: str, callee: str) -> tuple[int, Rule | None]:
    """How often a failing call is made at most, and the rule that says so."""
    frontend = subject.mesh.catalog.by_host.get(caller)
    found: tuple[int, Rule | None] = (1, None)
    for rule in subject.rules_towards(frontend.namespace if frontend else "default", callee):
        retry = rule.action.retry if isinstance(rule.action, Forward) else None
        if retry is not None and not set(retry.conditions) <= _SAFE and retry.attempts + 1 > found[0]:
            found = (retry.attempts + 1, rule)
    return found


def _product(numbers: tuple[int, ...]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _of(one: RuleAt, code: str, text: str) -> Finding:
    return finding(code, text, object=one.rule.object, origin=one.rule.origin)
