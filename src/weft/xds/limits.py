"""The numbers every generated proxy is given, and why: sizes, counts and times that bound what a peer can make it hold.

They follow Envoy's page "Configuring Envoy as an edge proxy"; inside the mesh, where the peer has proved an identity,
buffers are larger and waiting is allowed for longer.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONCURRENT_STREAMS = 100
"""Streams per HTTP/2 connection; more of them open another connection."""
MAX_HEADERS = 100
MAX_HEADERS_KIB = 60
MAX_DIRECT_RESPONSE = 1 << 20
"""Bytes of a direct response's body; Envoy's own default of 4096 is less than documents may hold."""
CONNECTION_WINDOW = 1 << 20
TLS_HANDSHAKE_SECONDS = 10.0
LISTENER_FILTER_SECONDS = 5.0
TCP_IDLE_SECONDS = 3600.0
"""After an hour without a byte a TCP connection is closed, also one tunnelled through HTTP."""
CONNECT_SECONDS = 5.0
ON_DEMAND_SECONDS = 3.0
"""How long a request to a service that the proxy does not know yet waits for the control plane; then 503."""
HTTP1_IDLE_SECONDS = 1.5
"""How long a connection to a server that is no proxy of ours is kept for the next request. Servers close idle
connections on their side (gunicorn after 2 s, node and uvicorn after 5 s); a request that meets the closing fails."""
HTTP2_IDLE_SECONDS = 1800.0
"""The same between proxies; less than the other side's limit, so that it is the caller that closes."""
KEEPALIVE_INTERVAL_SECONDS = 30.0
KEEPALIVE_TIMEOUT_SECONDS = 10.0
"""HTTP/2 pings between proxies find a peer that vanished without closing its connections."""
MAX_CONNECTIONS = 4096
MAX_REQUESTS = 65536
MAX_RETRIES = 1024
"""Circuit breakers where no DestinationRule sets them: bounds against runaway use, well above honest load. Envoy's
default of 3 concurrent retries would let requests fail while an instance goes away."""
MAX_OUTSIDE_CONNECTIONS = 1024
MAX_OUTSIDE_REQUESTS = 2048
"""The same for all hosts together that no document names: what one application calls outside the mesh, and no more
than a proxy can hold if these calls lead in a circle. Requests wait for a connection, as many as there are."""
AVOIDED_AFTER_FAILURES = 3
AVOIDED_SECONDS = 5.0
LONGEST_AVOIDED_SECONDS = 30.0
AVOIDED_PERCENT = 90
"""After how many failed connections in a row an endpoint is left alone, for how long at first (longer each time), and
how many percent of a service's endpoints at most: of two, one."""


@dataclass(frozen=True, slots=True)
class DownstreamLimits:
    """Limits towards clients. Sizes in bytes, times in seconds."""

    buffer: int
    stream_window: int
    stream_idle: float
    connection_idle: float
    headers: float


LONGEST_REQUEST_SECONDS = 3600.0
"""A request at a gateway, from its first byte to the last of its answer. Without a bound, one byte now and then holds
its place for ever; an hour is enough for what people upload and download."""
EDGE = DownstreamLimits(buffer=32 << 10, stream_window=64 << 10, stream_idle=300.0, connection_idle=300.0, headers=10.0)
MESH = DownstreamLimits(
    buffer=256 << 10, stream_window=256 << 10, stream_idle=3600.0, connection_idle=3600.0, headers=30.0
)
