"""Traffic as the admin API and the command line write it down: plain values, snake_case, times as RFC 3339."""

from __future__ import annotations

from weft.model.instants import instant
from weft.traffic.edges import Edge, Point, Window
from weft.traffic.latency import percentile

PERCENTILES = (50, 95, 99)


def window_row(window: Window) -> dict[str, object]:
    """A window, with a row for each edge."""
    return {
        "from": instant(window.since),
        "until": instant(window.until),
        "seconds": round(window.seconds, 3),
        "complete": window.complete,
        "known_since": None if window.known_since is None else instant(window.known_since),
        "dropped": window.dropped,
        "edges": [edge_row(edge, window.seconds) for edge in window.edges],
    }


def edge_row(edge: Edge, seconds: float) -> dict[str, object]:
    """An edge of a window that is so long. What nobody knows (the success of no requests) is None, and never 0."""
    row: dict[str, object] = {
        "source": edge.source,
        "source_service": edge.source_service,
        "destination": edge.destination,
        "destination_workload": edge.destination_workload,
        "port": edge.port,
        "protocol": edge.protocol,
        "mtls": edge.mtls,
        "requests": edge.requests,
        "failures": edge.failures,
        "requests_per_second": round(edge.requests / seconds, 4) if seconds else 0.0,
        "success_rate": round(1 - edge.failures / edge.requests, 6) if edge.requests else None,
        "codes": dict(edge.codes),
        "flags": dict(edge.flags),
    }
    row |= _percentiles(edge)
    row |= {
        "bytes_sent": edge.bytes_sent,
        "bytes_received": edge.bytes_received,
        "connections_opened": edge.connections_opened,
        "connections_closed": edge.connections_closed,
        "last_seen": instant(edge.last_seen),
    }
    return row | ({"route": edge.route} if edge.route else {})


def point_row(point: Point) -> dict[str, object]:
    """A point of a series."""
    row: dict[str, object] = {"time": instant(point.time), "requests": point.requests, "errors": point.failures}
    return row | _percentiles(point) | {"bytes_sent": point.bytes_sent, "bytes_received": point.bytes_received}


def _percentiles(of: Edge | Point) -> dict[str, object]:
    found = {f"p{share}_ms": percentile(of.latency, share / 100) for share in PERCENTILES}
    return {name: None if value is None else round(value, 3) for name, value in found.items()}
