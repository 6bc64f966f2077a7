"""How a cluster chooses an endpoint, and which endpoints it leaves out after failures."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.services.service import Balancing, Ejection
from weft.xds.limits import AVOIDED_AFTER_FAILURES, AVOIDED_PERCENT, AVOIDED_SECONDS, LONGEST_AVOIDED_SECONDS
from weft.xds.messages import duration

_MAX_MAGLEV = 5_000_011
_MAX_RING = 8 << 20
_POLICIES: dict[str, Cluster.LbPolicy.ValueType] = {
    "round-robin": Cluster.ROUND_ROBIN,
    "least-request": Cluster.LEAST_REQUEST,
    "random": Cluster.RANDOM,
    "ring-hash": Cluster.RING_HASH,
    "maglev": Cluster.MAGLEV,
}


def set_balancing(cluster: Cluster, balancing: Balancing) -> None:
    """The load-balancing policy. A Maglev table has a prime size: the next prime is taken."""
    cluster.lb_policy = _POLICIES[balancing.algorithm]
    if not balancing.table_size:
        return
    if balancing.algorithm == "ring-hash":
        cluster.ring_hash_lb_config.minimum_ring_size.value = min(balancing.table_size, _MAX_RING)
    elif balancing.algorithm == "maglev":
        cluster.maglev_lb_config.table_size.value = _prime_from(min(balancing.table_size, _MAX_MAGLEV))


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


def _prime_from(number: int) -> int:
    """The first prime not below `number`, and not above the largest table Envoy allows (itself a prime)."""
    candidate = max(number, 2)
    while any(candidate % divisor == 0 for divisor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate
