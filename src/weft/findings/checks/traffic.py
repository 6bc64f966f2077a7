"""Checks of what the traffic of the last minute shows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from weft.findings.facts import EdgeFact, Facts
from weft.findings.finding import Finding, finding

_FEWEST = 5
"""Requests; of fewer nothing is said."""
_ERROR_SHARE = 0.05
_FLAG_SHARE = 0.02
_SLOW_MS = 1000.0
_FLAGS = (
    ("URX", "retry-storm", "used up their retries"),
    ("UO", "overload", "were refused by a limit"),
    ("UH", "no-endpoint-for-calls", "found no healthy endpoint"),
    ("UF", "connections-fail", "met a failed connection"),
    ("UT", "calls-time-out", "took too long"),
    ("DF", "dns-fails", "failed because the name has no address"),
    ("NR", "no-route-for-calls", "met no rule"),
)


def high_error_rate(facts: Facts) -> Iterator[Finding]:
    """Edges on which many calls fail."""
    for one in facts.edges:
        if one.requests >= _FEWEST and one.failures >= one.requests * _ERROR_SHARE:
            codes = ", ".join(f"{code}: {count}" for code, count in sorted(one.codes.items()) if code >= "5")
            share = 100 * one.failures / one.requests
            text = f"{share:.0f}% of {_what(one)} failed" + (f" ({codes})" if codes else "")
            yield _of(one, "high-error-rate", f"{text}, in {facts.window:g} s")


def response_flags(facts: Facts) -> Iterator[Finding]:
    """Edges on which Envoy says why many calls ended as they did."""
    for one in facts.edges:
        for flag, code, told in _FLAGS:
            count = sum(number for flags, number in one.flags.items() if flag in flags.split(","))
            if count and one.requests >= _FEWEST and count >= one.requests * _FLAG_SHARE:
                yield _of(one, code, f"{count} of {_what(one)} {told} ({flag}), in {facts.window:g} s")


def slow_calls(facts: Facts) -> Iterator[Finding]:
    """Edges on which many calls take long."""
    for one in facts.edges:
        if one.requests >= _FEWEST and one.p95 is not None and one.p95 >= _SLOW_MS:
            text = f"the slowest 5% of {_what(one)} took longer than {one.p95 / 1000:.1f} s, in {facts.window:g} s"
            yield _of(one, "calls-slow", text)


def plaintext_traffic(facts: Facts) -> Iterator[Finding]:
    """Calls inside the mesh without mutual TLS."""
    for one in facts.edges:
        if one.mtls is False and one.requests and "/" in one.destination:
            yield _of(one, "plaintext-traffic", f"{_what(one)} came without mutual TLS, in {facts.window:g} s")


def _what(one: EdgeFact) -> str:
    return f"{one.requests} requests"


def _of(one: EdgeFact, code: str, text: str) -> Finding:
    namespace, _, name = one.destination.rpartition("/")
    workload = one.source.rpartition("/")[2]
    about = f"{one.source or 'unknown callers'} to {one.destination or 'an unknown service'}"
    found = finding(code, text, about=about, name=name, namespace=namespace or "default", workload=workload)
    if not name and workload:  # nothing that could be explained, but single requests are known
        return replace(found, fix=f"weft requests {shlex.quote(workload)} --failed")
    return found
