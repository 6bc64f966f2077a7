"""The way into a proxy for captured connections that say where they were made to: a listener of the bootstrap's.

Each begins with a header (PROXY protocol, version 2) with the destination and the workload's secret; who does not know
that is closed before a byte goes anywhere. What has it goes on, inside of the proxy, to the listener of captured
connections. So the secret is known to the agent and its Envoy only, and configuration by xDS does not have it.
"""

from __future__ import annotations

import json

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, EnvoyInternalAddress
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import FilterStateInput
from envoy.extensions.transport_sockets.internal_upstream.v3.internal_upstream_pb2 import InternalUpstreamTransport
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from weft.mesh.services.service import ConnectionLimits
from weft.model.capture import SECRET_TYPE
from weft.model.workload import SocketAddress
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, tcp_listener, tcp_proxy
from weft.xds.messages import packed, tcp_address
from weft.xds.policies.connections import TcpTimes
from weft.xds.services.cluster import base_cluster, static_endpoints
from weft.xds.services.names import CAPTURE_LISTENER

_NAME = "capture-entry"
_TOLD = "envoy.network.proxy_protocol.tlv"
"""The filter state in which Envoy's filter notes the fields of a header, as JSON."""
_FIELD = "secret"
_DESTINATION, _SOURCE = "envoy.filters.listener.original_dst.local_ip", "envoy.filters.listener.original_dst.remote_ip"
"""Where a listener within the proxy finds what a connection was made to, and by whom."""
_MOST_CONNECTIONS = (1 << 31) - 1


def build_capture_entry(listen: tuple[SocketAddress, ...], secret: str) -> tuple[Listener, Cluster]:
    """The listener at `listen` (the first address, and the same port of others), and the cluster that leads inside."""
    noted = SetFilterState()
    for key, value in ((_DESTINATION, "%DOWNSTREAM_LOCAL_ADDRESS%"), (_SOURCE, "%DOWNSTREAM_REMOTE_ADDRESS%")):
        state = noted.on_new_connection.add(object_key=key, shared_with_upstream=FilterStateValue.ONCE)
        state.format_string.text_format_source.inline_string = value
    before = Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(noted))
    inside = tcp_proxy(_NAME, _NAME, TcpTimes(idle=0), ())
    listener = tcp_listener(_NAME, listen[0], MESH.buffer, [filter_chain(_NAME, inside, before=(before,))])
    listener.additional_addresses.extend(AdditionalAddress(address=tcp_address(each)) for each in listen[1:])
    listener.listener_filters.append(_header_filter())
    listener.filter_chain_matcher.CopyFrom(_who_knows(secret))
    return listener, _cluster()


def _header_filter() -> ListenerFilter:
    header = ProxyProtocol(
        disallowed_versions=[ProxyProtocolConfig.V1], tlv_location=ProxyProtocol.FILTER_STATE, stat_prefix=_NAME
    )
    header.rules.add(tlv_type=SECRET_TYPE).on_tlv_present.key = _FIELD
    return ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=packed(header))


def _who_knows(secret: str) -> Matcher:
    matcher = Matcher()
    matcher.matcher_tree.input.CopyFrom(
        TypedExtensionConfig(name="header", typed_config=packed(FilterStateInput(key=_TOLD)))
    )
    known = matcher.matcher_tree.exact_match_map.map[json.dumps({_FIELD: secret}, separators=(",", ":"))]
    known.action.CopyFrom(TypedExtensionConfig(name=_NAME, typed_config=packed(StringValue(value=_NAME))))
    return matcher


def _cluster() -> Cluster:
    """What bounds connections is where they go to."""
    cluster = base_cluster(_NAME, ConnectionLimits(max_connections=_MOST_CONNECTIONS))
    cluster.circuit_breakers.thresholds[0].max_pending_requests.CopyFrom(UInt32Value(value=_MOST_CONNECTIONS))
    cluster.type = Cluster.STATIC
    address = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=CAPTURE_LISTENER))
    cluster.load_assignment.CopyFrom(static_endpoints(_NAME, address))
    plain = TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer()))
    cluster.transport_socket.CopyFrom(
        TransportSocket(
            name="envoy.transport_sockets.internal_upstream",
            typed_config=packed(InternalUpstreamTransport(transport_socket=plain)),
        )
    )
    return cluster
