"""All of the analysis: every function, and what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from weft.findings.analysis.authorization import gateway_left_out
from weft.findings.analysis.backends import (
    ejects_last_host,
    hash_with_one_endpoint,
    plaintext_accepted,
    settings_without_effect,
    subset_selects_nothing,
    tls_mismatch,
    unused_rules,
    weight_to_nothing,
)
from weft.findings.analysis.faults import fault_in_force
from weft.findings.analysis.ports import (
    no_http_probe,
    port_name_against_protocol,
    port_name_without_protocol,
    ports_disagree,
)
from weft.findings.analysis.subject import Subject
from weft.findings.analysis.timeouts import (
    endless_timeout,
    retry_amplification,
    timeout_below_callee,
    timeout_below_tries,
    unsafe_retry,
)
from weft.findings.finding import Finding

ANALYSES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    timeout_below_tries,
    timeout_below_callee,
    retry_amplification,
    unsafe_retry,
    endless_timeout,
    fault_in_force,
    weight_to_nothing,
    subset_selects_nothing,
    ejects_last_host,
    hash_with_one_endpoint,
    settings_without_effect,
    tls_mismatch,
    plaintext_accepted,
    unused_rules,
    port_name_without_protocol,
    port_name_against_protocol,
    ports_disagree,
    no_http_probe,
    gateway_left_out,
)


def analyze(subject: Subject) -> tuple[Finding, ...]:
    """Every finding about a subject, the worst first, each once."""
    found = dict.fromkeys(one for analysis in ANALYSES for one in analysis(subject))
    return tuple(sorted(found, key=lambda one: one.order))
