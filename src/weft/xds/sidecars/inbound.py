"""The listener in front of one application port, and what it accepts: mutual TLS, plaintext, or both."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost

from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.mesh.views import InboundPort
from weft.xds.filters.chain import port_filters
from weft.xds.http_connection_manager import inbound_manager
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, http_inspector, tcp_listener, tcp_proxy, tls_inspector
from weft.xds.messages import duration
from weft.xds.policies.connections import DEFAULT_TIMES
from weft.xds.policies.tls import ALPN_HTTP1, ALPN_HTTP2, ALPN_TCP, mesh_server_socket
from weft.xds.resource import encode_resource
from weft.xds.routes.route_configuration import encode_routes, host_part
from weft.xds.services.names import inbound_cluster_name
from weft.xds.snapshot import CLUSTER, ROUTES, Resource

_TLS = "tls"
_HTTP_TLS = (ALPN_HTTP2, ALPN_HTTP1)
_HTTP_PLAIN = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector reports."""


def encode_inbound(port: InboundPort, trust_domain: str) -> Resource:
    """The listener of one application port."""
    name = inbound_cluster_name(port.port)
    listener = tcp_listener(name, port.listen, MESH.buffer, _chains(port, trust_domain))
    listener.traffic_direction = base_pb2.INBOUND
    if port.mode is not MutualTlsMode.DISABLE and (_plain(port) or port.protocol is Protocol.AUTO):
        listener.listener_filters.append(tls_inspector())
    if _plain(port) and port.protocol is Protocol.AUTO:
        listener.listener_filters.append(http_inspector())
    requires = [(CLUSTER, name)] if port.protocol in (Protocol.TCP, Protocol.AUTO) else []
    if port.protocol is not Protocol.TCP:
        requires.append((ROUTES, name))
    return encode_resource(listener, name, port.origins, tuple(requires))


def encode_inbound_routes(port: InboundPort) -> Resource:
    """The route configuration of one application port: everything to the application, for as long as it takes, since
    callers set timeouts. Its listener never changes with what it says."""
    name = inbound_cluster_name(port.port)
    action = RouteAction(cluster=name, timeout=duration(0))
    route = Route(name=name, match=RouteMatch(prefix="/"), route=action, typed_per_filter_config=port_filters(port))
    host = host_part(VirtualHost(name=name, domains=["*"], routes=[route]))
    return encode_routes(name, [host], port.origins, [name])


def _plain(port: InboundPort) -> bool:
    return port.mode is not MutualTlsMode.STRICT


def _chains(port: InboundPort, trust_domain: str) -> list[FilterChain]:
    chains = []
    if port.mode is not MutualTlsMode.DISABLE:
        chains += _mutual_tls(port, trust_domain)
    if _plain(port):
        chains += _plaintext(port)
    return chains


def _mutual_tls(port: InboundPort, trust_domain: str) -> list[FilterChain]:
    """Where plaintext is accepted too, chains are chosen by what the TLS inspector saw; TCP then asks for weft's own
    ALPN, since the application may speak TLS itself."""
    http = mesh_server_socket(trust_domain, _HTTP_TLS)
    tcp = mesh_server_socket(trust_domain, (ALPN_TCP,))
    if port.protocol is Protocol.TCP:
        match = FilterChainMatch(transport_protocol=_TLS, application_protocols=[ALPN_TCP]) if _plain(port) else None
        return [filter_chain("mutual-tls", _tcp(port), match, tcp)]
    if port.protocol is Protocol.AUTO:
        chosen = FilterChainMatch(transport_protocol=_TLS, application_protocols=_HTTP_TLS)
        return [
            filter_chain("mutual-tls-http", _http(port, peers=True), chosen, http),
            filter_chain("mutual-tls", _tcp(port), FilterChainMatch(transport_protocol=_TLS), tcp),
        ]
    match = FilterChainMatch(transport_protocol=_TLS) if _plain(port) else None
    return [filter_chain("mutual-tls", _http(port, peers=True), match, http)]


def _plaintext(port: InboundPort) -> list[FilterChain]:
    """Where mutual TLS is accepted too, proxies of the mesh speak it, so who comes here is none. Where it is not, they
    come here, over HTTP/2 if other endpoints of the service have mutual TLS."""
    peers = port.mode is MutualTlsMode.DISABLE
    if port.protocol is Protocol.TCP:
        return [filter_chain("plaintext", _tcp(port))]
    if port.protocol is Protocol.AUTO:
        chosen = FilterChainMatch(transport_protocol="raw_buffer", application_protocols=_HTTP_PLAIN)
        return [
            filter_chain("plaintext-http", _http(port, peers=peers), chosen),
            filter_chain("plaintext", _tcp(port)),
        ]
    return [filter_chain("plaintext", _http(port, peers=peers), FilterChainMatch(transport_protocol="raw_buffer"))]


def _tcp(port: InboundPort) -> Filter:
    name = inbound_cluster_name(port.port)
    return tcp_proxy("inbound", name, DEFAULT_TIMES)


def _http(port: InboundPort, *, peers: bool) -> Filter:
    name = inbound_cluster_name(port.port)
    return inbound_manager(name, http2=port.protocol is Protocol.HTTP2, peers=peers)
