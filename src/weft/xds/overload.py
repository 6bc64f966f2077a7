"""The overload manager: what a proxy stops doing before its memory or its connections run out."""

from __future__ import annotations

from envoy.config.overload.v3.overload_pb2 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)
from envoy.extensions.resource_monitors.fixed_heap.v3.fixed_heap_pb2 import FixedHeapConfig

from weft.xds.messages import duration, packed

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_REFRESH_SECONDS = 0.25
_STEPS = (
    ("envoy.overload_actions.shrink_heap", 0.90),
    ("envoy.overload_actions.disable_http_keepalive", 0.92),
    ("envoy.overload_actions.stop_accepting_requests", 0.95),
    ("envoy.overload_actions.stop_accepting_connections", 0.98),
)
"""What is done at which share of the heap: first what nobody notices."""


def overload_manager(heap: int, connections: int) -> OverloadManager:
    """Bounds of `heap` bytes and `connections` accepted connections for the whole process."""
    return OverloadManager(
        refresh_interval=duration(_REFRESH_SECONDS),
        resource_monitors=[
            ResourceMonitor(name=_HEAP, typed_config=packed(FixedHeapConfig(max_heap_size_bytes=heap))),
            ResourceMonitor(
                name=_CONNECTIONS,
                typed_config=packed(DownstreamConnectionsConfig(max_active_downstream_connections=connections)),
            ),
        ],
        actions=[_at(action, share) for action, share in _STEPS],
    )


def _at(action: str, share: float) -> OverloadAction:
    return OverloadAction(name=action, triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=share))])
