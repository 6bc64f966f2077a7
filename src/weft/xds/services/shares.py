"""Shares of connections: the clusters over which they are divided, and by which weights."""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.routes.connections import Layer4Route, WeightedTarget
from weft.xds.services.names import NOWHERE, cluster_name

_MAX_TOTAL_WEIGHT = 2**32 - 1


def weighted_clusters(to: str | tuple[WeightedTarget, ...]) -> tuple[tuple[str, int], ...]:
    """Each cluster with its weight, whose sum Envoy can hold. What nobody has a share of leads nowhere."""
    if isinstance(to, str):
        return ((to, 1),)
    used = [each for each in to if each.weight > 0]
    if not used:
        return ((NOWHERE, 1),)
    divisor = sum(each.weight for each in used) // _MAX_TOTAL_WEIGHT + 1
    shares: dict[str, int] = {}
    for each in used:
        name = NOWHERE if each.backend is None else cluster_name(each.backend)
        shares[name] = shares.get(name, 0) + max(each.weight // divisor, 1)
    return tuple(shares.items())


def led_to(routes: Iterable[Layer4Route]) -> tuple[str, ...]:
    """The clusters to which connections go, each once."""
    return tuple(dict.fromkeys(name for route in routes for name, _ in weighted_clusters(route.backends)))
