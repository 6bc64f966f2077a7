"""Checks of single requests: what proxies noted as failed, with the place that explains it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from weft.findings.analysis.subject import Subject
from weft.findings.facts import EdgeFact, Facts, RequestFact
from weft.findings.finding import Finding, finding

_MOST = 50
DENIED = "access-denied"


def failed_requests(facts: Facts) -> Iterator[Finding]:
    """Why requests have failed lately, one finding for each reason at each proxy. That policies deny some is their
    purpose: see `calls_denied`."""
    for one in [each for each in facts.requests if each.code != DENIED][:_MOST]:
        many = f"{one.count} requests" if one.count > 1 else "a request"
        found = finding(
            one.code,
            f"{many} in {facts.window:g} s: {one.text}",
            object=one.object,
            about="" if one.object else f"proxy {one.proxy}",
            origin=one.origin,
            workload=one.proxy.partition(".")[0],
        )
        known = one.id and found.fix.startswith("weft explain ")
        yield replace(found, fix=f"weft explain {shlex.quote(one.id)}") if known else found


def calls_denied(facts: Facts) -> Iterator[Finding]:
    """Callers of whom policies denied every call to a service."""
    subject = facts.subject
    if subject is None:
        return
    for edge in facts.edges:
        denied = [one for one in facts.requests if one.code == DENIED and _is_of(one, edge, subject)]
        if not denied or not 0 < edge.requests <= max(edge.codes.get("403", 0), sum(one.count for one in denied)):
            continue
        first = denied[0]
        many = f"all {edge.requests} calls" if edge.requests > 1 else "the only call"
        text = f"{many} from {edge.source} to {edge.destination} in {facts.window:g} s: {first.text}"
        found = finding("calls-denied", text, object=first.object, origin=first.origin)
        port = next(iter(_ports(edge, subject)), "")
        yield replace(found, fix=f"weft authz check {shlex.quote(edge.source)} {shlex.quote(edge.destination + port)}")


def _ports(edge: EdgeFact, subject: Subject) -> Iterator[str]:
    """The ports of the service that is called, as a command line names them."""
    namespace, _, name = edge.destination.rpartition("/")
    frontend = subject.mesh.catalog.named(name, namespace)
    yield from (f":{port.number}" for port in (frontend.ports if frontend is not None else ()))


def _is_of(one: RequestFact, edge: EdgeFact, subject: Subject) -> bool:
    """Whether a request was of the calls of an edge: its caller, and a proxy behind its service."""
    namespace, _, name = edge.source.rpartition("/")
    space, _, service = edge.destination.rpartition("/")
    frontend = subject.mesh.catalog.named(service, space)
    behind = subject.behind.get(frontend.host, ()) if frontend is not None else ()
    return one.peer == f"{name}.{namespace}" and one.proxy in {each.proxy for each in behind}
