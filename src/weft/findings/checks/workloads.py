"""Checks of workloads and of what stands behind services."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.facts import Facts
from weft.findings.finding import Finding, finding
from weft.model.workload import Workload, WorkloadState


def no_healthy_endpoint(facts: Facts) -> Iterator[Finding]:
    """Services with workloads of which none takes requests."""
    catalog = facts.subject.mesh.catalog if facts.subject is not None else None
    behind: dict[str, list[Workload]] = {}
    for each in facts.workloads if catalog is not None else ():
        if each.workload.gateway is None and catalog is not None:
            for selecting in catalog.selecting(each.workload.namespace, each.workload.labels):
                behind.setdefault(selecting.host, []).append(each.workload)
    for frontend in catalog.frontends if catalog is not None else ():
        chosen = behind.get(frontend.host, [])
        if chosen and not any(one.state is WorkloadState.HEALTHY for one in chosen):
            states = ", ".join(f"{one.name} is {one.state.value}" for one in chosen[:3])
            count = "its only workload is not" if len(chosen) == 1 else f"none of its {len(chosen)} workloads is"
            text = f"{count} healthy: {states}"
            yield finding(
                "no-healthy-endpoint", text, object=frontend.key, origin=frontend.origin, workload=chosen[0].name
            )


def workload_unhealthy(facts: Facts) -> Iterator[Finding]:
    """Workloads that do not pass their health check."""
    for one in facts.workloads:
        if one.workload.state is WorkloadState.UNHEALTHY:
            name = one.workload.name
            text = f"{name} does not pass its health check, so it gets no requests"
            yield finding("workload-unhealthy", text, about=f"workload {one.workload.proxy}", workload=name)


def endpoint_unreachable(facts: Facts) -> Iterator[Finding]:
    """Addresses of workloads at which nothing accepts connections."""
    for proxy, address, why in facts.unreachable:
        name = proxy.partition(".")[0]
        text = f"{name} is not reached at {address} from the control plane: {why}"
        yield finding("endpoint-unreachable", text, about=f"workload {proxy}", workload=name)
