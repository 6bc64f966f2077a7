"""HTTP/3 of a gateway's port: the QUIC listener beside the one for TLS, and how that one tells clients of it.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http3
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.protocol_pb2 import Http3ProtocolOptions, QuicProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.views import EdgeTls, GatewayPort
from weft.xds.limits import ALT_SVC_SECONDS, EDGE, MAX_CONCURRENT_STREAMS, TLS_HANDSHAKE_SECONDS
from weft.xds.messages import duration, packed, provenance, tcp_address
from weft.xds.policies.tls import edge_server_socket

ALPN_HTTP3 = "h3"


def http3_listener_name(port: int) -> str:
    """The name of the QUIC listener for a Gateway's port."""
    return f"gateway|{port}|http3"


def alt_svc(port: int) -> str:
    """What an answer says about HTTP/3 on UDP `port` (RFC 7838): for how long, in seconds, a client may believe it."""
    return f'{ALPN_HTTP3}=":{port}"; ma={ALT_SVC_SECONDS}'


def http3_listener(port: GatewayPort, chains: list[FilterChain]) -> Listener:
    """The QUIC listener of a port, of `chains` as the TLS listener has them. Each thread of the proxy has a socket of
    its own (SO_REUSEPORT): Envoy has no other way to keep packets of a connection together."""
    name = http3_listener_name(port.port)
    address = tcp_address(port.listen)
    address.socket_address.protocol = SocketAddress.UDP
    listener = Listener(
        name=name,
        stat_prefix=name,
        address=address,
        filter_chains=[_over_quic(chain) for chain in chains],
        per_connection_buffer_limit_bytes=UInt32Value(value=EDGE.buffer),
        enable_reuse_port=BoolValue(value=True),
        traffic_direction=base_pb2.INBOUND,
    )
    options = listener.udp_listener_config.quic_options
    options.quic_protocol_options.CopyFrom(_quic())
    options.idle_timeout.CopyFrom(duration(EDGE.connection_idle))
    options.crypto_handshake_timeout.CopyFrom(duration(TLS_HANDSHAKE_SECONDS))
    listener.udp_listener_config.downstream_socket_config.prefer_gro.value = True
    listener.metadata.CopyFrom(provenance(str(port.object)))
    return listener


def quic_server_socket(tls: EdgeTls, trust_domain: str) -> TransportSocket:
    """TLS of a gateway within QUIC, with the certificates of the TLS listener. Nothing is believed that comes before
    the hand-shake has ended (0-RTT): whoever saw such a request could send it again."""
    context = DownstreamTlsContext()
    edge_server_socket(tls, trust_domain, (ALPN_HTTP3,)).typed_config.Unpack(context)
    context.common_tls_context.ClearField("tls_params")
    quic = QuicDownstreamTransport(downstream_tls_context=context, enable_early_data=BoolValue(value=False))
    return TransportSocket(name="envoy.transport_sockets.quic", typed_config=packed(quic))


def _over_quic(chain: FilterChain) -> FilterChain:
    """A chain of the TLS listener, whose socket is QUIC's already, for connections over QUIC."""
    match = FilterChainMatch(transport_protocol="quic", server_names=chain.filter_chain_match.server_names)
    found = FilterChain(name=chain.name, filter_chain_match=match, transport_socket=chain.transport_socket)
    for each in chain.filters:
        manager = HttpConnectionManager()
        if each.typed_config.Unpack(manager):
            manager.codec_type = HttpConnectionManager.HTTP3
            manager.ClearField("http_protocol_options")
            manager.ClearField("http2_protocol_options")
            manager.ClearField("upgrade_configs")
            manager.http3_protocol_options.CopyFrom(_http3())
            found.filters.add(name=each.name, typed_config=packed(manager))
        else:
            found.filters.append(each)
    return found


def _http3() -> Http3ProtocolOptions:
    """The bounds of HTTP/2 at the edge. Upgrades over HTTP/3 (RFC 9220) are not offered."""
    return Http3ProtocolOptions(
        quic_protocol_options=_quic(), override_stream_error_on_invalid_http_message=BoolValue(value=True)
    )


def _quic() -> QuicProtocolOptions:
    return QuicProtocolOptions(
        max_concurrent_streams=UInt32Value(value=MAX_CONCURRENT_STREAMS),
        initial_stream_window_size=UInt32Value(value=EDGE.stream_window),
        initial_connection_window_size=UInt32Value(value=EDGE.connection_window),
    )
