"""UDP ports of a gateway: a listener that gives each client a session, and one cluster whose localities are shares.

Envoy's proxy of UDP knows one cluster and no weights between several; between the localities of a cluster it divides
sessions by weight. What changes is endpoints alone, so no change of a route replaces a listener or a cluster.
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.address_pb2 import SocketAddress as EnvoySocketAddress
from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.listener.v3.udp_listener_config_pb2 import UdpListenerConfig
from envoy.extensions.filters.udp.udp_proxy.v3.route_pb2 import Route
from envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from google.protobuf.wrappers_pb2 import BoolValue

from weft.mesh.services.service import Endpoint as Instance
from weft.mesh.services.service import Health
from weft.mesh.views import DatagramPort, DatagramShare
from weft.model.workload import SocketAddress
from weft.xds.limits import CONNECT_SECONDS, UDP_IDLE_SECONDS, UDP_SESSIONS
from weft.xds.messages import duration, packed, provenance
from weft.xds.policies.tls import ads_source
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, ENDPOINTS, Resource

_NOBODY = SocketAddress("127.0.0.1", 0)
"""Nothing can be sent to port 0: sessions of a share without endpoints end there, and no other share grows by it."""


def datagram_name(port: DatagramPort) -> str:
    """The name of the listener of a UDP port, of its cluster and of that one's endpoints."""
    return f"gateway|{port.port}|udp"


def encode_datagram_listener(port: DatagramPort) -> Resource:
    """The listener. All datagrams of one client (address and port) go to one endpoint, while it is there. Where several
    worker threads take them each has a socket of its own, which Envoy demands: the kernel keeps a client with one."""
    name = datagram_name(port)
    proxy = UdpProxyConfig(stat_prefix="gateway", idle_timeout=duration(UDP_IDLE_SECONDS))
    route = proxy.matcher.on_no_match.action
    route.name = "route"
    route.typed_config.CopyFrom(packed(Route(cluster=name)))
    listener = Listener(
        name=name,
        stat_prefix=name,
        address=_address(port.listen),
        enable_reuse_port=BoolValue(value=port.shared),
        udp_listener_config=UdpListenerConfig(),
        listener_filters=[ListenerFilter(name="envoy.filters.udp_listener.udp_proxy", typed_config=packed(proxy))],
        traffic_direction=base_pb2.INBOUND,
        metadata=provenance(str(port.object)),
    )
    return encode_resource(listener, name, (port.origin,), ((CLUSTER, name),))


def encode_datagram_cluster(port: DatagramPort) -> Resource:
    """The cluster. Its bound on connections is one on sessions, each of which has a socket: a flood fills no more."""
    name = datagram_name(port)
    cluster = Cluster(name=name, type=Cluster.EDS, connect_timeout=duration(CONNECT_SECONDS))
    cluster.metadata.CopyFrom(provenance(str(port.object)))
    cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
    cluster.common_lb_config.healthy_panic_threshold.value = 0
    cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    cluster.circuit_breakers.thresholds.add().max_connections.value = UDP_SESSIONS
    return encode_resource(cluster, name, (port.origin,), ((ENDPOINTS, name),))


def encode_datagram_endpoints(port: DatagramPort) -> Resource:
    """A locality for each share, which says nothing of where its endpoints are. Where none has a weight, Envoy would
    take all, so there is one of nobody then."""
    name = datagram_name(port)
    nobody = () if any(share.weight for share in port.shares) else (DatagramShare(1),)
    shares = [_share(index, share) for index, share in enumerate((*port.shares, *nobody))]
    return encode_resource(ClusterLoadAssignment(cluster_name=name, endpoints=shares), name, (port.route,))


DATAGRAMS = (encode_datagram_listener, encode_datagram_cluster, encode_datagram_endpoints)
"""Everything that a UDP port needs."""


def _share(index: int, share: DatagramShare) -> LocalityLbEndpoints:
    alive = [each for each in share.endpoints if each.health is Health.HEALTHY]
    found = LocalityLbEndpoints(locality=Locality(sub_zone=f"share-{index}"))
    if share.weight:  # without, Envoy sends no new sessions there, and those that there are stay
        found.load_balancing_weight.value = share.weight
    found.lb_endpoints.extend(map(_endpoint, alive) if alive else [_to(_NOBODY)])
    return found


def _endpoint(instance: Instance) -> LbEndpoint:
    found = _to(instance.address)
    found.load_balancing_weight.value = instance.weight
    return found


def _to(where: SocketAddress) -> LbEndpoint:
    return LbEndpoint(endpoint=Endpoint(address=_address(where)))


def _address(where: SocketAddress) -> Address:
    return Address(
        socket_address=EnvoySocketAddress(protocol=EnvoySocketAddress.UDP, address=where.host, port_value=where.port)
    )
