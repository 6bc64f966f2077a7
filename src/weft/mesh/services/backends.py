"""Backends: what traffic can be sent to, made from services, the DestinationRule in force, and the endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import Target
from weft.mesh.routes.rules import NO_BACKEND, Forward, Rule
from weft.mesh.services.service import Backend, Endpoint, EndpointSet, Protocol, Service, TrafficPolicy, backend_name
from weft.mesh.services.targets import Targets
from weft.model.identity import SpiffeId
from weft.model.labels import Labels

Tls = Literal["all", "none", "mixed"]
ServiceIndex = Mapping[str, Service]


def backends_of_rules(rules: Iterable[Rule]) -> set[str]:
    """The names of all backends the rules send requests or copies to."""
    found: set[str] = set()
    for rule in rules:
        if isinstance(rule.action, Forward):
            found.update(item.backend for item in rule.action.backends)
            found.update(item.backend for item in rule.action.mirrors)
    found.discard(NO_BACKEND)
    return found


def parts_of_backend(name: str) -> tuple[str, int, str]:
    """(host, port, subset) of a backend's name."""
    _, port, subset, host = name.split("|", 3)
    return host, int(port), subset


def build_backends(
    memo: Memo, names: Iterable[str], targets: Targets, services: ServiceIndex
) -> tuple[tuple[Backend, ...], tuple[EndpointSet, ...]]:
    """The backends of these names, sorted, and the endpoints of those that have any."""
    backends: list[Backend] = []
    endpoints: list[EndpointSet] = []
    for name in sorted(names):
        host, port, subset = parts_of_backend(name)
        backend, members = memo(build_backend, memo, services[host], targets.by_host[host], port, subset)
        backends.append(backend)
        if members is not None:
            endpoints.append(members)
    return memo.same(backends), memo.same(endpoints)


def build_backend(
    memo: Memo, service: Service, target: Target, port: int, subset: str
) -> tuple[Backend, EndpointSet | None]:
    """One backend with its endpoints. The Backend stays the same object while only endpoints come and go."""
    found = service.port(port)
    members = found.endpoints if found else ()
    labels = target.subset_labels(subset)
    if labels:
        members = tuple(endpoint for endpoint in members if _carries(endpoint.labels, labels))
    identities = tuple(sorted({endpoint.identity for endpoint in members}))
    policy = memo(policy_of, target, port, subset)
    tls = _tls(members, policy, external=bool(service.external_name))
    backend = memo(_backend, target, port, subset, policy, identities, tls)
    return backend, None if service.external_name else EndpointSet(backend.name, members)


def policy_of(target: Target, port: int, subset: str) -> TrafficPolicy:
    """The policy of a port of a target or of its subset."""
    return target.policy(port, subset)


def _carries(labels: Labels, wanted: Labels) -> bool:
    return set(wanted) <= set(labels)


def _tls(members: tuple[Endpoint, ...], policy: TrafficPolicy, *, external: bool) -> Tls:
    if external or policy.mutual_tls is False:
        return "none"
    capable = sum(endpoint.mutual_tls for endpoint in members)
    if policy.mutual_tls or capable == len(members):
        return "all"
    return "mixed" if capable else "none"


def _backend(
    target: Target, port: int, subset: str, policy: TrafficPolicy, identities: tuple[SpiffeId, ...], tls: Tls
) -> Backend:
    found = target.service.port(port)
    return Backend(
        name=backend_name(target.service.host, port, subset),
        host=target.service.host,
        port=port,
        subset=subset,
        protocol=found.protocol if found else Protocol.AUTO,
        policy=policy,
        identities=identities,
        tls=tls,
        origins=target.origins(subset),
        external_name=target.service.external_name,
    )
