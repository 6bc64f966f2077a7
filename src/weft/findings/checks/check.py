"""All checks, each with what it means when there is nothing to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weft.findings.analysis.analyze import ANALYSES
from weft.findings.catalogue.lookup import CHAPTERS
from weft.findings.checks.control_plane import (
    build_slow,
    ca_expires,
    disk_nearly_full,
    event_loop_lag,
    gateway_certificate_expires,
    server_certificate_expires,
    unused_secrets,
    weft_versions_differ,
)
from weft.findings.checks.proxies import (
    certificate_expires,
    clock_differs,
    envoy_versions_differ,
    proxy_behind,
    proxy_not_connected,
)
from weft.findings.checks.requests import calls_denied, failed_requests
from weft.findings.checks.traffic import high_error_rate, plaintext_traffic, response_flags, slow_calls
from weft.findings.checks.workloads import endpoint_unreachable, no_healthy_endpoint, workload_unhealthy
from weft.findings.facts import Facts
from weft.findings.finding import Finding, finding_from_problem
from weft.model.problem import Severity

_CHAPTER = {entry.code: title for title, entries in CHAPTERS for entry in entries}


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `well` is what is told when it finds nothing."""

    well: str
    find: Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of all checks: the findings, the worst first, and what is well."""

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]


def _problems(*chapters: str, others: bool = False) -> Callable[[Facts], Iterator[Finding]]:
    """The Problems whose codes stand in these chapters; with `others`, those of unknown codes, too."""

    def find(facts: Facts) -> Iterator[Finding]:
        for problem in facts.problems:
            chapter = _CHAPTER.get(problem.code)
            if chapter in chapters or (others and chapter is None):
                yield finding_from_problem(problem, facts.followed)

    return find


def _analysis(facts: Facts) -> Iterator[Finding]:
    """What the analysis finds, without its notes: `weft analyze` has them."""
    if facts.subject is not None:
        for analysis in ANALYSES:
            yield from (one for one in analysis(facts.subject) if one.severity is not Severity.NOTE)


_ELSEWHERE = {
    "Workloads and services",
    "Proxies",
    "The control plane",
    "The certificate authority",
    "Secrets",
    "Federation",
    "The end of trust",
    "Analysis",
    "Traffic",
    "Requests",
    "Clusters",
}
"""Chapters that have a check of their own, or whose codes come of checks alone. All others are of documents."""
_OF_DOCUMENTS = tuple(title for title, _ in CHAPTERS if title not in _ELSEWHERE)
CHECKS = (
    Check("the control plane and its store work", _problems("The control plane", others=True)),
    Check("the control plane is not late", event_loop_lag),
    Check("compiling the mesh is fast", build_slow),
    Check("there is room on the disk", disk_nearly_full),
    Check("the mesh's root and intermediate certificates last", ca_expires),
    Check("the certificate authority does what it should", _problems("The certificate authority")),
    Check("the control plane's certificate is fresh", server_certificate_expires),
    Check("certificates of Gateways last", gateway_certificate_expires),
    Check("certificates of workloads are fresh", certificate_expires),
    Check("weft is the same version everywhere", weft_versions_differ),
    Check("Envoy is the same version everywhere", envoy_versions_differ),
    Check("clocks agree", clock_differs),
    Check("every document is in force", _problems(*_OF_DOCUMENTS)),
    Check("the store's secrets can be read, and tokens last", _problems("Secrets")),
    Check("other trust domains are known", _problems("Federation")),
    Check("who is not trusted stays away", _problems("The end of trust")),
    Check("every Secret is used", unused_secrets),
    Check("proxies take what they are given", _problems("Proxies")),
    Check("every registered proxy is connected", proxy_not_connected),
    Check("every proxy has confirmed everything", proxy_behind),
    Check("workloads and services fit together", _problems("Workloads and services")),
    Check("every service has a healthy endpoint", no_healthy_endpoint),
    Check("every workload is healthy", workload_unhealthy),
    Check("no request has failed lately", failed_requests),
    Check("no caller is denied everything", calls_denied),
    Check("every workload is reached", endpoint_unreachable),
    Check("timeouts, retries, ejection and balancing fit together", _analysis),
    Check("few requests fail", high_error_rate),
    Check("requests end as they should", response_flags),
    Check("few calls are slow", slow_calls),
    Check("calls use mutual TLS", plaintext_traffic),
)


def check(facts: Facts) -> Checked:
    """Run every check."""
    findings: dict[Finding, None] = {}
    passed = []
    seen: tuple[Finding, ...] = ()
    for one in CHECKS:
        found = tuple(one.find(facts))
        if one.find is failed_requests:
            seen = found
        else:
            findings.update(dict.fromkeys(found))
        if not found:
            passed.append(one.well)
    findings.update(dict.fromkeys(_not_said(seen, findings)))
    return Checked(tuple(sorted(findings, key=lambda each: each.order)), tuple(passed))


def _not_said(seen: Iterable[Finding], findings: Iterable[Finding]) -> Iterator[Finding]:
    """What single requests met, without what their document is told for anyway."""
    said = {(one.code, one.object) for one in findings if one.object is not None}
    yield from (one for one in seen if (one.code, one.object) not in said)


def exit_code(checked: Checked) -> int:
    """0: all is well, 1: warnings, 2: errors."""
    severities = {one.severity for one in checked.findings}
    return 2 if Severity.ERROR in severities else 1 if Severity.WARNING in severities else 0
