"""Faults on purpose that are in force."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.analysis.subject import Subject, seconds, short
from weft.findings.finding import Finding, finding


def fault_in_force(subject: Subject) -> Iterator[Finding]:
    """Rules that delay or fail requests."""
    for one in subject.rules:
        fault = one.rule.fault
        if fault is None:
            continue
        told = []
        if fault.delay is not None and fault.delay_percent:
            told.append(f"{fault.delay_percent:g}% are delayed by {seconds(fault.delay)}")
        status = fault.abort_http if fault.abort_http is not None else fault.abort_grpc
        if status is not None and fault.abort_percent:
            word = "" if fault.abort_http is not None else "gRPC status "
            told.append(f"{fault.abort_percent:g}% are answered {word}{status}")
        if told:
            text = f"of the requests to {short(one.host)} {' and '.join(told)}, on purpose"
            yield finding("fault-in-force", text, object=one.rule.object, origin=one.rule.origin)
