"""The fault filter: injected delays and aborts. Stands in the chain disabled; a route with a fault enables it."""

from __future__ import annotations

from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault

from weft.mesh.routes.rules import Fault, Rule
from weft.xds.messages import duration, share

NAME = "envoy.filters.http.fault"


def listener_config() -> HTTPFault:
    """No fault of its own."""
    return HTTPFault()


def route_config(rule: Rule) -> HTTPFault | None:
    """The rule's fault."""
    return _fault(rule.fault) if rule.fault is not None else None


def _fault(fault: Fault) -> HTTPFault:
    message = HTTPFault()
    if fault.delay:
        message.delay.CopyFrom(FaultDelay(fixed_delay=duration(fault.delay), percentage=share(fault.delay_percent)))
    if fault.abort_grpc is not None:
        message.abort.CopyFrom(FaultAbort(grpc_status=fault.abort_grpc, percentage=share(fault.abort_percent)))
    elif fault.abort_http is not None:
        message.abort.CopyFrom(FaultAbort(http_status=fault.abort_http, percentage=share(fault.abort_percent)))
    return message
