"""HealthCheckPolicy: what callers try at each instance of a service."""

from __future__ import annotations

from weft.mesh.services.resilience import HealthCheck, StatusRange
from weft.mesh.services.service import Frontend, Location
from weft.model.document import Document
from weft.schema.kinds.healthcheckpolicy import HealthCheckPolicySpec


def compile_health(document: Document[HealthCheckPolicySpec], frontend: Frontend) -> HealthCheck:
    """The check at the instances of `frontend`, which is asked for under its full name (outside the mesh: that of its
    server) if the policy has none."""
    spec = document.spec
    times = (spec.interval, spec.timeout, spec.unhealthy_threshold, spec.healthy_threshold)
    port = spec.port or 0
    own = frontend.members[0].address if frontend.location is Location.OUTSIDE and frontend.members else frontend.host
    if spec.http is not None:
        http = spec.http
        statuses = tuple([status_range(text) for text in http.expected_statuses])
        host = http.host or own
        return HealthCheck("http", *times, host=host, path=http.path, method=http.method, statuses=statuses, port=port)
    if spec.grpc is not None:
        return HealthCheck("grpc", *times, host=spec.grpc.host or own, service=spec.grpc.service, port=port)
    tcp = spec.tcp
    send, receive = (tcp.send, tcp.receive) if tcp else ("", "")
    return HealthCheck("tcp", *times, send=send.encode(), receive=receive.encode(), port=port)


def status_range(text: str) -> StatusRange:
    """``204`` or ``200-299``: the first and the last status."""
    low, _, high = text.partition("-")
    return int(low), int(high or low)
