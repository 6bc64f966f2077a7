"""What policies of weft's own at the edge have in common: what they are for, and the Secrets that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.scalars import Name, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTarget:
    """A Gateway, or a route for what it has at Gateways, of the same namespace."""

    name: Subdomain
    group: Literal["gateway.networking.k8s.io"] = GATEWAY_GROUP
    kind: Literal["Gateway", "HTTPRoute", "GRPCRoute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretName:
    """A Secret; one of another namespace needs a ReferenceGrant there."""

    name: Subdomain
    namespace: Name | None = None
    group: Literal[""] = ""
    kind: Literal["Secret"] = "Secret"
