"""How a cluster chooses an endpoint, and which endpoints it leaves out after failures."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.extensions.load_balancing_policies.common.v3.common_pb2 import ConsistentHashingLbConfig
from envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2 import Maglev
from envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.services.resilience import Comparison
from weft.mesh.services.service import Balancing, Ejection, HashKey, Warmup
from weft.xds.limits import (
    AVOIDED_AFTER_FAILURES,
    AVOIDED_PERCENT,
    AVOIDED_SECONDS,
    LONGEST_AVOIDED_SECONDS,
    LONGEST_EJECTION_SECONDS,
)
from weft.xds.messages import duration, packed

_MAX_MAGLEV = 5_000_011
_MAX_RING = 8 << 20
_POLICIES: dict[str, Cluster.LbPolicy.ValueType] = {
    "round-robin": Cluster.ROUND_ROBIN,
    "least-request": Cluster.LEAST_REQUEST,
    "random": Cluster.RANDOM,
}


def set_balancing(cluster: Cluster, balancing: Balancing, shared_out: bool = False) -> None:
    """The load-balancing policy. A Maglev table has a prime size: the next prime is taken.

    What consistent hashing looks at stands in the cluster, so that routes do not depend on who calls
    (https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/common/v3/common.proto).
    `shared_out`: localities have weights.
    """
    if balancing.algorithm in _POLICIES:
        if shared_out:
            cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
        cluster.lb_policy = _POLICIES[balancing.algorithm]
        if balancing.warmup is not None:
            _set_warmup(cluster, balancing.warmup)
        return
    hashing = ConsistentHashingLbConfig()
    if balancing.hash is not None:
        hashing.hash_policy.append(_hash_policy(balancing.hash))
    policy: RingHash | Maglev
    if balancing.algorithm == "ring-hash":
        policy = RingHash(consistent_hashing_lb_config=hashing)
        if balancing.table_size:
            policy.minimum_ring_size.value = min(balancing.table_size, _MAX_RING)
    else:
        policy = Maglev(consistent_hashing_lb_config=hashing)
        if balancing.table_size:
            policy.table_size.value = _prime_from(min(balancing.table_size, _MAX_MAGLEV))
    if shared_out:
        policy.locality_weighted_lb_config.SetInParent()
    extension = cluster.load_balancing_policy.policies.add().typed_extension_config
    extension.name = f"envoy.load_balancing_policies.{balancing.algorithm.replace('-', '_')}"
    extension.typed_config.CopyFrom(packed(policy))


def _set_warmup(cluster: Cluster, warmup: Warmup) -> None:
    """https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start"""
    turns = cluster.lb_policy == Cluster.ROUND_ROBIN
    slow = (cluster.round_robin_lb_config if turns else cluster.least_request_lb_config).slow_start_config
    slow.slow_start_window.CopyFrom(duration(warmup.seconds))
    slow.min_weight_percent.value = warmup.least
    slow.aggression.default_value = warmup.aggression
    slow.aggression.runtime_key = "weft.warmup_aggression"


def _hash_policy(key: HashKey) -> RouteAction.HashPolicy:
    policy = RouteAction.HashPolicy()
    if key.header:
        policy.header.header_name = key.header
    elif key.cookie:
        policy.cookie.name = key.cookie
        policy.cookie.path = key.cookie_path
        if key.cookie_ttl is not None:
            policy.cookie.ttl.CopyFrom(duration(key.cookie_ttl))
    elif key.query:
        policy.query_parameter.name = key.query
    elif key.source_ip:
        policy.connection_properties.source_ip = True
    return policy


def set_ejection(cluster: Cluster, ejection: Ejection) -> None:
    """Outlier detection: only the kinds asked for are enforced, and one endpoint may always be ejected."""
    detection = OutlierDetection(
        enforcing_success_rate=UInt32Value(value=0), always_eject_one_host=BoolValue(value=True)
    )
    if ejection.consecutive_5xx is not None:
        detection.consecutive_5xx.value = ejection.consecutive_5xx or 1
        detection.enforcing_consecutive_5xx.value = 100 if ejection.consecutive_5xx else 0
    if ejection.consecutive_gateway_errors:
        detection.consecutive_gateway_failure.value = ejection.consecutive_gateway_errors
        detection.enforcing_consecutive_gateway_failure.value = 100
    if ejection.split_local:
        detection.split_external_local_origin_errors = True
        detection.enforcing_local_origin_success_rate.value = 0
        if ejection.consecutive_local_failures is not None:
            detection.consecutive_local_origin_failure.value = ejection.consecutive_local_failures or 1
            detection.enforcing_consecutive_local_origin_failure.value = (
                100 if ejection.consecutive_local_failures else 0
            )
    if ejection.interval:
        detection.interval.CopyFrom(duration(ejection.interval))
    if ejection.base_time:
        detection.base_ejection_time.CopyFrom(duration(ejection.base_time))
        if ejection.base_time > 300:
            detection.max_ejection_time.CopyFrom(duration(ejection.base_time))
    if ejection.max_percent is not None:
        detection.max_ejection_percent.value = ejection.max_percent
    if ejection.min_health_percent is not None:
        cluster.common_lb_config.healthy_panic_threshold.value = ejection.min_health_percent
    cluster.outlier_detection.CopyFrom(detection)


def set_avoidance(cluster: Cluster) -> None:
    """Leave an endpoint alone for a while that cannot be connected to, where no document says otherwise.

    A retry finds another one, but not for a request too large to be kept: without this such requests fail until the
    lease of a dead instance ends. What an endpoint answers is no reason, and one endpoint always stays.
    """
    cluster.outlier_detection.CopyFrom(
        OutlierDetection(
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=UInt32Value(value=AVOIDED_AFTER_FAILURES),
            enforcing_consecutive_local_origin_failure=UInt32Value(value=100),
            enforcing_local_origin_success_rate=UInt32Value(value=0),
            enforcing_success_rate=UInt32Value(value=0),
            enforcing_consecutive_5xx=UInt32Value(value=0),
            interval=duration(AVOIDED_SECONDS),
            base_ejection_time=duration(AVOIDED_SECONDS),
            max_ejection_time=duration(LONGEST_AVOIDED_SECONDS),
            max_ejection_percent=UInt32Value(value=AVOIDED_PERCENT),
        )
    )


def set_comparison(detection: OutlierDetection, comparison: Comparison, ejection: Ejection | None) -> None:
    """Endpoints are compared with each other, too. Times that `ejection` does not say are those of the comparison."""
    if comparison.success_rate is not None:
        rate = comparison.success_rate
        detection.enforcing_success_rate.value = 100
        detection.success_rate_minimum_hosts.value = rate.minimum_hosts
        detection.success_rate_request_volume.value = rate.request_volume
        detection.success_rate_stdev_factor.value = round(rate.deviations * 1000)
    if comparison.failure_percentage is not None:
        failures = comparison.failure_percentage
        detection.enforcing_failure_percentage.value = 100
        detection.failure_percentage_threshold.value = failures.threshold
        detection.failure_percentage_minimum_hosts.value = failures.minimum_hosts
        detection.failure_percentage_request_volume.value = failures.request_volume
    if ejection is None or ejection.interval is None:
        detection.interval.CopyFrom(duration(comparison.interval))
    if ejection is None or ejection.base_time is None:
        detection.base_ejection_time.CopyFrom(duration(comparison.base_time))
        detection.max_ejection_time.CopyFrom(duration(max(comparison.base_time, LONGEST_EJECTION_SECONDS)))
    if ejection is None or ejection.max_percent is None:
        detection.max_ejection_percent.value = comparison.max_percent


def _prime_from(number: int) -> int:
    """The first prime not below `number`, and not above the largest table Envoy allows (itself a prime)."""
    candidate = max(number, 2)
    while any(candidate % divisor == 0 for divisor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate
