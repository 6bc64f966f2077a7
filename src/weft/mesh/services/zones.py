"""Zone-aware shares: how much of a caller's calls stays in its zone, and where the rest goes.

Envoy's own algorithm, computed here for all callers of one service and zone:
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from weft.mesh.memo import Memo
from weft.model.canonical import canonical_service
from weft.model.workload import Workload, WorkloadState

Peers = tuple[tuple[str, str, int], ...]
"""Regions and zones in which a caller's service runs, with how much of it does: the sum of its instances' weights."""


def peers_of(memo: Memo, workloads: tuple[Workload, ...], caller: Workload) -> Peers:
    """Where the instances of the service run that `caller` is one of: those of its namespace and canonical service."""
    services = memo.groups(_service, _name, workloads)
    return memo.over(_peers, services.get((caller.namespace, canonical_service(caller)), ()))


def _service(workload: Workload) -> tuple[tuple[str, str], ...]:
    if workload.state is WorkloadState.DRAINING:
        return ()
    return ((workload.namespace, canonical_service(workload)),)


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _peers(workloads: tuple[Workload, ...]) -> Peers:
    found: dict[tuple[str, str], int] = {}
    for workload in workloads:
        where = (workload.place.region, workload.place.zone)
        found[where] = found.get(where, 0) + workload.weight
    return tuple((*where, weight) for where, weight in sorted(found.items()))


def zone_shares(own: str, callers: Mapping[str, int], callees: Mapping[str, int]) -> dict[str, Fraction]:
    """The share of its calls that each zone gets from a caller in zone `own`. Both mappings have the size of a service
    in each zone of the caller's region. A zone that is not in the answer gets nothing.

    If every caller does so, all of the callee gets the same share of all calls.
    """
    all_callers, all_callees = sum({own: 1, **callers}.values()), sum(callees.values())
    here = Fraction(callers.get(own, 1), all_callers)
    room = Fraction(callees[own], all_callees)
    if room >= here:
        return {own: Fraction(1)}
    spare = {
        zone: left
        for zone, size in callees.items()
        if (left := Fraction(size, all_callees) - Fraction(callers.get(zone, 0), all_callers)) > 0
    }
    rest, all_spare = 1 - room / here, sum(spare.values())
    return {own: room / here, **{zone: rest * left / all_spare for zone, left in spare.items()}}
