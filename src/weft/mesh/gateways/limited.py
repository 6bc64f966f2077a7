"""Limited: which RateLimitPolicies hold at what a gateway process serves."""

from __future__ import annotations

from weft.mesh.gateways.gateway import GatewayModel
from weft.mesh.policies.ratelimitpolicy import RateLimits
from weft.model.document import ObjectKey


def limited_at(gateway: GatewayModel, limits: RateLimits) -> frozenset[ObjectKey]:
    """The policies of its Gateways, and of the routes that are in force there."""
    targets = {f"Gateway {each.gateway}" for each in gateway.listeners}
    for hosts in gateway.hosts.values():
        for routes in (group for host in hosts for group in (host.routes, *host.wider)):
            keys = [route.document.key for route, _ in routes]
            targets.update(f"{key.kind} {key.namespace}/{key.name}" for key in keys)
    return frozenset(limits.by_target[target].object for target in targets & limits.by_target.keys())
