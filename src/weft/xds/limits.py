"""The numbers every generated proxy is given, and why: sizes, counts and times that bound what a peer can make it hold.

They follow Envoy's page "Configuring Envoy as an edge proxy"; inside the mesh, where the peer has proved an identity,
buffers are larger and waiting is allowed for longer.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONCURRENT_STREAMS = 100
"""Streams per HTTP/2 connection; more of them open another connection."""
LARGEST_WINDOW = (1 << 31) - 1
"""What HTTP/2 lets a window be (RFC 9113, 6.9.1)."""
MAX_HEADERS = 100
MAX_HEADERS_KIB = 60
MAX_DIRECT_RESPONSE = 1 << 20
"""Bytes of a direct response's body; Envoy's own default of 4096 is less than documents may hold."""
TLS_HANDSHAKE_SECONDS = 10.0
ALT_SVC_SECONDS = 3600
"""For how long a client may try HTTP/3 first after an answer that offered it. It goes back to TLS where that fails."""
LISTENER_FILTER_SECONDS = 5.0
DETECTION_SECONDS = 0.5
"""How long an AUTO port waits for the client's first bytes; then it is a protocol in which the server speaks first."""
TCP_IDLE_SECONDS = 3600.0
UDP_IDLE_SECONDS = 30.0
UDP_SESSIONS = 4096  # each has a socket of its own, and whoever floods a port makes them without proof
"""After an hour without a byte a TCP connection is closed, also one tunnelled through HTTP."""
CONNECT_SECONDS = 5.0
ON_DEMAND_SECONDS = 3.0
"""How long a request to a service that the proxy does not know yet waits for the control plane; then 503."""
COLLECTOR_SECONDS = 5.0
"""How long a collector may take for one message of spans or log lines; then it is lost, and counted."""
AUTHORIZATION_SECONDS = 10.0
"""How long a server may take that is asked whether a request may pass; then it has not answered."""
MAX_REFUSAL_BODY = 1 << 16
"""Bytes of such a server's refusal that clients are given."""
HTTP1_IDLE_SECONDS = 1.5
"""How long a connection to a server that is no proxy of ours is kept for the next request. Servers close idle
connections on their side (gunicorn after 2 s, node and uvicorn after 5 s); a request that meets the closing fails."""
HTTP2_IDLE_SECONDS = 1800.0
"""The same between proxies; less than the other side's limit, so that it is the caller that closes."""
KEEPALIVE_INTERVAL_SECONDS = 30.0
KEEPALIVE_QUIET_SECONDS = 2.0
KEEPALIVE_TIMEOUT_SECONDS = 10.0
"""HTTP/2 pings between proxies find a peer that vanished without closing its connections: sent at this interval, and
before a request if nothing was heard for so long."""
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
LONGEST_EJECTION_SECONDS = 300.0
"""Each time that an endpoint is ejected it is for longer, up to this, which is Envoy's own."""
HEALTH_JITTER_PERCENT = 20
"""By how much the time between health checks differs, so that those of many proxies do not come at once."""
MAX_HISTOGRAMS_OF_SIGNALS = 3000
MAX_COUNTERS_OF_SIGNALS = 2000
MAX_GAUGES_OF_SIGNALS = 1000
"""Statistics that a proxy keeps of the traffic it sees: three histograms for each series of requests, four counters for
each of connections, two gauges for each long connection. What would be more is counted only in all."""
EVICTION_SECONDS = 3600
"""A statistic of traffic that was not updated from one sweep to the next is forgotten."""
CONNECTION_REPORT_SECONDS = 10
"""How often a TCP connection that lives says what it has carried."""


@dataclass(frozen=True, slots=True)
class DownstreamLimits:
    """Limits towards clients. Sizes in bytes, times in seconds."""

    buffer: int
    stream_window: int
    connection_window: int
    stream_idle: float
    connection_idle: float
    headers: float


LONGEST_REQUEST_SECONDS = 3600.0
"""A request at a gateway, from its first byte to the last of its answer. Without a bound, one byte now and then holds
its place for ever; an hour is enough for what people upload and download."""
EDGE = DownstreamLimits(
    buffer=32 << 10,
    stream_window=64 << 10,
    connection_window=1 << 20,
    stream_idle=300.0,
    connection_idle=300.0,
    headers=10.0,
)
MESH = DownstreamLimits(
    buffer=256 << 10,
    stream_window=256 << 10,
    connection_window=MAX_CONCURRENT_STREAMS * (256 << 10),
    stream_idle=3600.0,
    connection_idle=3600.0,
    headers=30.0,
)
"""Between proxies a connection carries many callers' requests: its window has room for all of its streams, or four
clients that do not read what they asked for hold up everybody's. What a proxy can come to hold is bounded by the
streams' windows all the same, since connections that are one client's own have a smaller one."""

JWKS_SECONDS = 600.0
"""How long a proxy that fetches keys itself holds them: a key that is taken back is taken for so long."""
JWKS_RETRY_SECONDS = 5.0
"""How soon it asks again where it got none: nobody with a token passes meanwhile."""
MAX_COUNTED_APART = 10_000
"""Values that a limit of one proxy tells apart, such as clients' addresses. Envoy forgets the one that was not seen for
longest then, whose next request begins anew."""
MAX_COUNTED_VALUE = 256
"""Bytes of such a value: what is longer is counted as one."""
COUNT_SECONDS = 0.1
"""How long a request waits for the control plane's count: a tenth of what people notice."""
