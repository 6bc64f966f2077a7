"""Values in their normal form: old spellings are replaced, with a warning, and empty lists by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from weft.model.problem import Severity
from weft.schema.findings import Finding, deprecated
from weft.schema.kinds.destinationrule import ConsistentHash, LoadBalancer, OutlierDetection, RingHash
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.httproute import ParentReference, RouteMatch, RouteRule
from weft.schema.kinds.istiogateway import GatewayServerPort
from weft.schema.kinds.smi import TrafficSplitSpec
from weft.schema.kinds.virtualservice import (
    CorsPolicy,
    FaultAbort,
    FaultDelay,
    HttpRoute,
    PercentValue,
    PresenceMatch,
    StringMatch,
)
from weft.schema.rules.envoyfilter_forms import NORMALISERS as ENVOY_FILTER
from weft.schema.said import Normaliser


def _load_balancer(value: LoadBalancer) -> tuple[LoadBalancer, tuple[Finding, ...]]:
    if value.simple != "LEAST_CONN":
        return value, ()
    return replace(value, simple="LEAST_REQUEST"), (
        deprecated(("simple",), "LEAST_CONN is the old spelling", "LEAST_REQUEST"),
    )


def _consistent_hash(value: ConsistentHash) -> tuple[ConsistentHash, tuple[Finding, ...]]:
    size = value.minimum_ring_size
    if size is None:
        return value, ()
    warning = deprecated(("minimumRingSize",), "minimumRingSize is the old spelling", "ringHash.minimumRingSize")
    if value.ring_hash is not None or value.maglev is not None:
        return replace(value, minimum_ring_size=None), (warning,)
    return replace(value, minimum_ring_size=None, ring_hash=RingHash(minimum_ring_size=size)), (warning,)


def _outlier_detection(value: OutlierDetection) -> tuple[OutlierDetection, tuple[Finding, ...]]:
    if value.consecutive_errors is None:
        return value, ()
    present = value.consecutive_gateway_errors
    errors = value.consecutive_errors if present is None else present
    return replace(value, consecutive_errors=None, consecutive_gateway_errors=errors), (
        deprecated(("consecutiveErrors",), "consecutiveErrors is the old spelling", "consecutiveGatewayErrors"),
    )


def _percent_of_fault(value: FaultDelay | FaultAbort) -> tuple[FaultDelay | FaultAbort, tuple[Finding, ...]]:
    """The share of a fault; Istio's default is none."""
    if value.percent is None and value.percentage is None:
        message = "without 'percentage' no request is affected"
        warning = Finding((), message, "percentage.value", code="no-effect", severity=Severity.WARNING)
        return replace(value, percentage=PercentValue(value=0.0)), (warning,)
    if value.percent is None:
        return value, ()
    percentage = value.percentage or PercentValue(value=float(value.percent))
    return replace(value, percent=None, percentage=percentage), (
        deprecated(("percent",), "percent is the old spelling", "percentage.value"),
    )


def _route(value: HttpRoute) -> tuple[HttpRoute, tuple[Finding, ...]]:
    if value.mirror_percent is None:
        return value, ()
    percentage = value.mirror_percentage or PercentValue(value=float(value.mirror_percent))
    return replace(value, mirror_percent=None, mirror_percentage=percentage), (
        deprecated(("mirrorPercent",), "mirrorPercent is the old spelling", "mirrorPercentage.value"),
    )


def _cors(value: CorsPolicy) -> tuple[CorsPolicy, tuple[Finding, ...]]:
    if not value.allow_origin:
        return value, ()
    origins = tuple(
        StringMatch(regex=".*") if origin == "*" else StringMatch(exact=origin) for origin in value.allow_origin
    )
    return replace(value, allow_origin=(), allow_origins=value.allow_origins or origins), (
        deprecated(("allowOrigin",), "allowOrigin is the old spelling", "allowOrigins"),
    )


def _route_rule(value: RouteRule) -> tuple[RouteRule, tuple[Finding, ...]]:
    """An empty list of matches is the default: every request."""
    return (value if value.matches else replace(value, matches=(RouteMatch(),))), ()


def _parent(value: ParentReference) -> tuple[ParentReference, tuple[Finding, ...]]:
    """A Service without the core group: the group's default is that of Gateways, and is meant by nobody."""
    if value.kind != "Service" or value.group != GATEWAY_GROUP:
        return value, ()
    warning = deprecated(("group",), "a Service is of the core group, which is written ''", "group: ''")
    return replace(value, group=""), (warning,)


def _presence(value: PresenceMatch) -> tuple[PresenceMatch, tuple[Finding, ...]]:
    """``regex: "*"`` is the old way to ask for presence."""
    return (PresenceMatch() if value.regex == "*" else value), ()


def _server_port(value: GatewayServerPort) -> tuple[GatewayServerPort, tuple[Finding, ...]]:
    """Istio reads protocols in any case."""
    return replace(value, protocol=value.protocol.upper()), ()


def _split(value: TrafficSplitSpec) -> tuple[TrafficSplitSpec, tuple[Finding, ...]]:
    """Quantities (``900m``) as whole numbers: all of them in thousandths."""
    if all(isinstance(each.weight, int) for each in value.backends):
        return value, ()
    backends = tuple(replace(each, weight=round(each.weight * 1000)) for each in value.backends)
    if any(each.weight >= 2**31 for each in backends):
        return value, (Finding(("backends",), "the weights are too large in thousandths", "weights below 2000000"),)
    return replace(value, backends=backends), ()


NORMALISERS: Mapping[type, Normaliser] = {
    TrafficSplitSpec: _split,
    **ENVOY_FILTER,
    GatewayServerPort: _server_port,
    LoadBalancer: _load_balancer,
    ConsistentHash: _consistent_hash,
    OutlierDetection: _outlier_detection,
    FaultDelay: _percent_of_fault,
    FaultAbort: _percent_of_fault,
    HttpRoute: _route,
    CorsPolicy: _cors,
    RouteRule: _route_rule,
    ParentReference: _parent,
    PresenceMatch: _presence,
}
