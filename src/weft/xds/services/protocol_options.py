"""How HTTP is spoken on a connection: HTTP/2 and HTTP/1 options for both sides, and those of a cluster."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import (
    HttpProtocolOptions as ClusterHttpOptions,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.xds.limits import (
    KEEPALIVE_INTERVAL_SECONDS,
    KEEPALIVE_QUIET_SECONDS,
    KEEPALIVE_TIMEOUT_SECONDS,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADERS,
    MESH,
    DownstreamLimits,
)
from weft.xds.messages import duration, packed

CLUSTER_EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Version(enum.Enum):
    """How the version of HTTP is found: it is said, TLS agrees on it (ALPN), or it is that of the caller."""

    ONE = enum.auto()
    AGREED = enum.auto()
    CALLERS = enum.auto()


@dataclass(frozen=True, slots=True)
class RequestNames:
    """TLS asks for the host of each request, which the server's certificate has to have if it is to be `proved`."""

    proved: bool = True


def server_http1() -> Http1ProtocolOptions:
    """HTTP/1.1 from clients; an invalid message ends its own stream only. Who speaks HTTP/1.0 is told to upgrade."""
    return Http1ProtocolOptions(override_stream_error_on_invalid_http_message=BoolValue(value=True))


def server_http2(limits: DownstreamLimits, *, upgrades: bool, any_resets: bool = False) -> Http2ProtocolOptions:
    """HTTP/2 from clients. `upgrades` allows extended CONNECT (RFC 8441), which WebSocket needs.

    `any_resets`: the connection stays however many streams are reset on it. A gateway sends the requests of all its
    clients over few connections and passes their resets on; who closes them for that fails everybody's requests for
    what one client did. Envoy's usual codec, nghttp2, counts resets by itself and cannot be told not to. The other one
    loses trailers of some sizes, so it is for applications that send none (ADR 0035).
    """
    return Http2ProtocolOptions(
        use_oghttp2_codec=BoolValue(value=True) if any_resets else None,
        max_concurrent_streams=UInt32Value(value=MAX_CONCURRENT_STREAMS),
        initial_stream_window_size=UInt32Value(value=limits.stream_window),
        initial_connection_window_size=UInt32Value(value=limits.connection_window),
        override_stream_error_on_invalid_http_message=BoolValue(value=True),
        allow_connect=upgrades,
    )


def server_common(limits: DownstreamLimits) -> HttpProtocolOptions:
    """Limits on clients' connections, whatever the version. Header names with underscores are refused: behind the
    proxy they may be folded together with names that have dashes."""
    return HttpProtocolOptions(
        idle_timeout=duration(limits.connection_idle),
        max_headers_count=UInt32Value(value=MAX_HEADERS),
        headers_with_underscores_action=HttpProtocolOptions.REJECT_REQUEST,
    )


def client_options(
    *,
    http2: bool,
    upgrades: bool,
    keepalive: bool,
    idle: float | None,
    longest: float | None = None,
    max_requests_per_connection: int | None = None,
    max_concurrent_streams: int | None = None,
    names: RequestNames | None = None,
    version: Version = Version.ONE,
) -> AnyMessage:
    """HTTP towards a cluster's endpoints, in one explicit version unless `version` says otherwise. In seconds: `idle`
    is how long a connection is kept for the next request (0: for ever, None: Envoy's hour), `longest` how long for new
    ones altogether. `names`: TLS asks for the host of each request.
    """
    common = HttpProtocolOptions()
    if idle is not None:
        common.idle_timeout.CopyFrom(duration(idle))
    if longest:
        common.max_connection_duration.CopyFrom(duration(longest))
    if max_requests_per_connection:
        common.max_requests_per_connection.value = max_requests_per_connection
    message = ClusterHttpOptions(common_http_protocol_options=common)
    if http2 or version is not Version.ONE:
        streams = max_concurrent_streams or MAX_CONCURRENT_STREAMS
        window = min(LARGEST_WINDOW, max(streams, MAX_CONCURRENT_STREAMS) * MESH.stream_window)
        options = Http2ProtocolOptions(
            max_concurrent_streams=UInt32Value(value=streams),
            initial_stream_window_size=UInt32Value(value=MESH.stream_window),
            initial_connection_window_size=UInt32Value(value=window),
            allow_connect=upgrades,
        )
        if keepalive:
            options.connection_keepalive.CopyFrom(_keepalive())
    match version:
        case Version.AGREED:
            message.auto_config.http2_protocol_options.CopyFrom(options)
        case Version.CALLERS:
            message.use_downstream_protocol_config.http2_protocol_options.CopyFrom(options)
            message.use_downstream_protocol_config.http_protocol_options.SetInParent()
        case _ if http2:
            message.explicit_http_config.http2_protocol_options.CopyFrom(options)
        case _:
            message.explicit_http_config.http_protocol_options.SetInParent()
    if names is not None:
        message.upstream_http_protocol_options.auto_sni = True
        message.upstream_http_protocol_options.auto_san_validation = names.proved
    return packed(message)


def _keepalive() -> KeepaliveSettings:
    return KeepaliveSettings(
        interval=duration(KEEPALIVE_INTERVAL_SECONDS),
        connection_idle_interval=duration(KEEPALIVE_QUIET_SECONDS),
        timeout=duration(KEEPALIVE_TIMEOUT_SECONDS),
    )
