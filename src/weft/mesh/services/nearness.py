"""Nearness: which endpoints a caller prefers, by where both of them run and by their labels.

The order is Istio's: https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from weft.mesh.services.service import Endpoint, EndpointGroup, Health, Nearness
from weft.mesh.services.zones import Peers, zone_shares
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality, with_topology

_REGION, _ELSEWHERE = 2, 3
_WHOLE = 10_000
"""What the weights of a priority's localities come to, but for rounding."""
_STEPS = 5
"""Same subzone, zone, region, other region, and a region that is not the one to fail over to."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a caller runs, and its labels, those of topology among them; `peers` are the instances of its service."""

    place: Locality
    labels: Labels = ()
    peers: Peers = ()


def matters(nearness: Nearness | None, endpoints: Iterable[Endpoint]) -> bool:
    """Whether callers at different places may prefer different ones of these endpoints."""
    if nearness is None:
        return False
    return bool(nearness.labels) or any(endpoint.locality != NOWHERE for endpoint in endpoints)


def groups_for(nearness: Nearness, endpoints: tuple[Endpoint, ...], caller: Caller) -> tuple[EndpointGroup, ...]:
    """The endpoints as `caller` uses them; nothing where they are all the same to it."""
    if nearness.shares:
        return _shared_out(nearness, endpoints, caller)
    ranked: dict[tuple[int, Locality], list[Endpoint]] = {}
    for endpoint in endpoints:
        ranked.setdefault((_rank(nearness, endpoint, caller), endpoint.locality), []).append(endpoint)
    ranks = sorted({rank for rank, _ in ranked})
    groups = tuple(
        [EndpointGroup(place, tuple(ranked[rank, place]), ranks.index(rank)) for rank, place in sorted(ranked)]
    )
    zoned = _by_zones(nearness, groups, caller)
    return zoned or (groups if len(ranks) > 1 else ())


def _by_zones(nearness: Nearness, groups: tuple[EndpointGroup, ...], caller: Caller) -> tuple[EndpointGroup, ...]:
    """The groups with the first priority shared out over zones, and those of its zones that get nothing behind it;
    nothing where that makes no sense to the caller. Endpoints that are not healthy count too, as they do in Envoy's
    rule when to go elsewhere: a share that changed with them would count them twice."""
    region, own = caller.place.region, caller.place.zone
    first = [group for group in groups if group.priority == 0]
    sizes: dict[str, int] = {}
    for group in first:
        if group.locality.region == region:
            sizes[group.locality.zone] = sizes.get(group.locality.zone, 0) + _size(group)
    count = sum(_count(group) for group in first)
    if nearness.zones is None or not own or not sizes.get(own) or len(sizes) < 2 or count < nearness.zones:
        return ()
    callers = {zone: size for where, zone, size in caller.peers if where == region}
    shares = zone_shares(own, callers, sizes)
    weighed = [
        replace(group, weight=max(1, round(_WHOLE * shares[zone] * _size(group) / sizes[zone])))
        for group in first
        if (zone := group.locality.zone) in shares and _size(group)
    ]
    rest = [replace(group, priority=1) for group in first if not (group.locality.zone in shares and _size(group))]
    behind = [replace(group, priority=group.priority + bool(rest)) for group in groups if group.priority > 0]
    return (*weighed, *rest, *behind)


def _size(group: EndpointGroup) -> int:
    return sum(each.weight for each in group.endpoints if each.health is not Health.DRAINING)


def _count(group: EndpointGroup) -> int:
    return sum(each.health is not Health.DRAINING for each in group.endpoints)


def _rank(nearness: Nearness, endpoint: Endpoint, caller: Caller) -> int:
    """The lower, the sooner it is called. Labels come first, then the region that is failed over to."""
    by_labels = _rank_by_labels(nearness, endpoint, caller) if nearness.labels else 0
    if nearness.zones is not None:
        beyond = max(0, _distance(nearness, endpoint.locality, caller.place) - _REGION)
        return by_labels * _STEPS + (0 if caller.place == NOWHERE else beyond)
    if caller.place == NOWHERE or (nearness.labels and not nearness.failover):
        return by_labels * _STEPS
    return by_labels * _STEPS + _distance(nearness, endpoint.locality, caller.place)


def _rank_by_labels(nearness: Nearness, endpoint: Endpoint, caller: Caller) -> int:
    """How many of the labels, from the first that differs on, an endpoint has otherwise than is wanted."""
    own, wanted = dict(with_topology(endpoint.labels, endpoint.locality)), dict(caller.labels)
    for index, (label, value) in enumerate(nearness.labels):
        if own.get(label, "") != (wanted.get(label, "") if value is None else value):
            return len(nearness.labels) - index
    return 0


def _distance(nearness: Nearness, place: Locality, caller: Locality) -> int:
    if place.region == caller.region:
        if place.zone == caller.zone:
            return 0 if place.subzone == caller.subzone else 1
        return _REGION
    to = dict(nearness.failover).get(caller.region)
    return _ELSEWHERE if to in (None, place.region) else _ELSEWHERE + 1


def _shared_out(nearness: Nearness, endpoints: tuple[Endpoint, ...], caller: Caller) -> tuple[EndpointGroup, ...]:
    """Each locality with its share. Where nothing is said for the caller, localities count by their endpoints; where
    something is, localities that it does not name get nothing."""
    places: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        places.setdefault(endpoint.locality, []).append(endpoint)
    sizes = {place: sum(endpoint.weight for endpoint in found) for place, found in places.items()}
    shares = next((to for source, to in nearness.shares if is_within(caller.place, source)), None)
    weights = dict(sizes) if shares is None else {}
    for pattern, share in shares or ():
        named = [place for place in sorted(places) if place not in weights and is_within(place, pattern)]
        total = sum(sizes[place] for place in named)
        weights.update((place, math.ceil(sizes[place] * share / total)) for place in named)
    return tuple(
        [EndpointGroup(place, tuple(places[place]), weight=weight) for place, weight in sorted(weights.items())]
    )


def is_within(place: Locality, pattern: str) -> bool:
    """Whether a locality is in ``region/zone/subzone``, where ``*`` and parts that are left out stand for any."""
    parts = (place.region, place.zone, place.subzone)
    return all(wanted in ("*", part) for wanted, part in zip(pattern.split("/"), parts, strict=False))
