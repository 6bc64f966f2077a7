"""The listener to which all connections of callers are led: it hands each to the listener of the port that it was made
to, and refuses the rest.

The ports' own listeners bind nothing then, and are else what they are without capture. So a port that changes ends no
connection of others, and each looks at the first bytes only if it has to itself. See `use_original_dst` of Envoy's
listener.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc

from weft.model.workload import SocketAddress
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, tcp_listener, tcp_proxy
from weft.xds.messages import packed, tcp_address
from weft.xds.policies.connections import DEFAULT_TIMES
from weft.xds.resource import encode_resource
from weft.xds.services.names import NOWHERE
from weft.xds.snapshot import CLUSTER, Resource

INBOUND_CAPTURE_LISTENER = "captured-inbound"
_REFUSED = "refused"


def encode_inbound_capture(listen: tuple[SocketAddress, ...], transparent: bool) -> Resource:
    """The listener at `listen`, one address for each family. A connection that was made to no port of the workload, or
    to this listener itself, is closed. `transparent`: the system leaves its address as it was (TPROXY), which takes
    CAP_NET_ADMIN."""
    refused = filter_chain(_REFUSED, tcp_proxy(_REFUSED, NOWHERE, DEFAULT_TIMES, ()))
    listener = tcp_listener(INBOUND_CAPTURE_LISTENER, listen[0], MESH.buffer, (refused,))
    listener.additional_addresses.extend(_additional(listen[1:]))
    listener.use_original_dst.value = True
    if transparent:
        listener.transparent.value = True
    listener.traffic_direction = base_pb2.INBOUND
    return encode_resource(listener, INBOUND_CAPTURE_LISTENER, (), ((CLUSTER, NOWHERE),))


def bind_nothing(listener: Listener, led: tuple[SocketAddress, ...], *, transparent: bool) -> None:
    """Have a port's listener take what was made to one of `led` and handed to it, and no connection else.
    `transparent`: it connects to the application with the caller's address."""
    listener.address.CopyFrom(tcp_address(led[0]))
    listener.additional_addresses.extend(_additional(led[1:]))
    listener.bind_to_port.value = False
    if transparent:
        name = "envoy.filters.listener.original_src"
        listener.listener_filters.append(ListenerFilter(name=name, typed_config=packed(OriginalSrc())))


def _additional(addresses: Iterable[SocketAddress]) -> Iterable[AdditionalAddress]:
    return [AdditionalAddress(address=tcp_address(each)) for each in addresses]
