"""Backends with what policies say of their resilience: checks, comparisons, and endpoints that stand in for theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from weft.mesh.memo import Memo
from weft.mesh.policies.servicepolicies import ServicePolicies, resilience_of
from weft.mesh.services.resilience import NO_RESILIENCE, Resilience
from weft.mesh.services.service import Backend, BackendKey, Endpoint, EndpointSet, Frontend, Target, Transport

Find = Callable[[BackendKey], Target | None]


def resilient_targets(
    memo: Memo, targets: Iterable[Target], policies: ServicePolicies, frontend: Frontend, find: Find
) -> Iterator[Target]:
    """Those of the `targets` of one service of which its policies say something. `find` gives the others."""
    attached = policies.by_host.get(frontend.host)
    for target in targets if attached is not None else ():
        key = target.backend.key
        port = frontend.port(key.port)
        if attached is None or port is None:
            continue
        said = memo(resilience_of, attached, frontend, port, key.subset)
        if said is not NO_RESILIENCE:
            others = [found for each in said.fallbacks if (found := find(BackendKey(*each))) is not None]
            at = find(BackendKey(key.host, said.health.port)) if said.health and said.health.port else None
            yield memo.over(_resilient, others, memo, target, said, at)


def _resilient(
    fallbacks: tuple[Target, ...], memo: Memo, target: Target, said: Resilience, checked: Target | None
) -> Target:
    """`checked` is the target at whose endpoints health is checked, if not at its own."""
    transports = tuple([each.backend.transport for each in fallbacks])
    backend = memo(_backend, target.backend, said, transports)
    members = target.endpoints
    if members is None:
        return Target(backend, None)
    own = members.endpoints
    if checked is not None and checked.endpoints is not None:
        own = _checked(own, checked.endpoints.endpoints)
    others = tuple([each.endpoints.endpoints if each.endpoints else () for each in fallbacks])
    return Target(backend, EndpointSet(members.backend, own, members.groups, others, said.below))


def _backend(backend: Backend, said: Resilience, transports: tuple[Transport, ...]) -> Backend:
    origins = tuple(dict.fromkeys((*backend.origins, *said.origins)))
    return replace(backend, resilience=said, fallbacks=transports, origins=origins)


def _checked(endpoints: tuple[Endpoint, ...], at: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    ports = {each.workload: each.address.port for each in at}
    return tuple([replace(each, health_port=ports.get(each.workload, 0)) for each in endpoints])
