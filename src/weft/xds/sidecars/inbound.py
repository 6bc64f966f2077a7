"""The listener in front of one application port, and what it accepts: mutual TLS, plaintext, or both."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost

from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.mesh.signals import Signals
from weft.mesh.views import InboundPort
from weft.xds.access.connections import admitted, connection_filters
from weft.xds.filters import distrust, limits
from weft.xds.filters.chain import access_extensions, access_filters, required_slots
from weft.xds.filters.place import Place
from weft.xds.http_connection_manager import inbound_manager
from weft.xds.limits import DETECTION_SECONDS, MESH
from weft.xds.listener import filter_chain, http_inspector, tcp_listener, tcp_proxy, tls_inspector
from weft.xds.messages import duration, packed
from weft.xds.policies.connections import tcp_times
from weft.xds.policies.federation import one_domain_filter, trust_name
from weft.xds.policies.tls import ALPN_HTTP1, ALPN_HTTP2, ALPN_TCP, mark_epoch, mesh_server_socket
from weft.xds.resource import encode_resource
from weft.xds.routes.requirements import required_of
from weft.xds.routes.route_configuration import encode_routes, host_part
from weft.xds.services.names import inbound_cluster_name, inbound_route_name
from weft.xds.sidecars.inbound_capture import bind_nothing
from weft.xds.signals.collectors import required_collectors
from weft.xds.signals.loggers import connection_report, tcp_loggers
from weft.xds.snapshot import CLUSTER, ROUTES, SECRET, Resource

_TLS = "tls"
_HTTP_TLS = (ALPN_HTTP2, ALPN_HTTP1)
_HTTP_PLAIN = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector reports."""


def encode_inbound(port: InboundPort, trust_domain: str, signals: Signals, trust_epoch: int = 0) -> Resource:
    """The listener of one application port. Mutual-TLS connections of another `trust_epoch` are drained."""
    name = inbound_cluster_name(port.port)
    listener = tcp_listener(name, port.listen, MESH.buffer, _chains(port, trust_domain, signals, trust_epoch))
    listener.traffic_direction = base_pb2.INBOUND
    if port.led:
        bind_nothing(listener, port.led, transparent=port.transparent)
    if port.mode is not MutualTlsMode.DISABLE and (_plain(port) or port.protocol is Protocol.AUTO):
        listener.listener_filters.append(tls_inspector())
    if _plain(port) and port.protocol is Protocol.AUTO:
        listener.listener_filters.append(http_inspector())
        if port.turning:  # the server may speak first
            listener.listener_filters_timeout.CopyFrom(duration(DETECTION_SECONDS))
            listener.continue_on_listener_filters_timeout = True
    requires = [(CLUSTER, name)] if port.protocol in (Protocol.TCP, Protocol.AUTO) else []
    if port.protocol is not Protocol.TCP:
        requires.append((ROUTES, name))
        requires += required_slots(Place.INBOUND, name, *limits.standing(port.limited))
    requires += required_collectors(signals)
    if port.trust and port.mode is not MutualTlsMode.DISABLE:
        requires.append((SECRET, trust_name(port.trust)))
    return encode_resource(listener, name, port.origins, tuple(requires))


def encode_inbound_routes(port: InboundPort) -> Resource:
    """The route configuration of one application port: everything to the application, for as long as it takes, since
    callers set timeouts. Its listener never changes with what it says."""
    name = inbound_cluster_name(port.port)
    action = RouteAction(cluster=name, timeout=duration(0))
    service, number = port.service
    route = Route(
        name=inbound_route_name(port.port, service, number or port.port), match=RouteMatch(prefix="/"), route=action
    )
    host = host_part(VirtualHost(name=name, domains=["*"], routes=[route]))
    filters = access_filters(Place.INBOUND, port.access, name)
    if (refused := distrust.port_config(port)) is not None:
        filters[distrust.NAME] = packed(refused)
    return encode_routes(name, [host], port.origins, [name], filters=filters, requires=required_of(port.access))


def encode_inbound_extensions(port: InboundPort) -> tuple[Resource, ...]:
    """What the filters of one application port need beside its routes."""
    return tuple(access_extensions(Place.INBOUND, port.access, inbound_cluster_name(port.port)))


def _plain(port: InboundPort) -> bool:
    return port.mode is not MutualTlsMode.STRICT


def _chains(port: InboundPort, trust_domain: str, signals: Signals, trust_epoch: int) -> list[FilterChain]:
    chains = []
    if port.mode is not MutualTlsMode.DISABLE:
        chains += _mutual_tls(port, trust_domain, signals)
        for chain in chains:
            mark_epoch(chain.metadata, trust_epoch)
            if port.trust:
                chain.filters.insert(0, one_domain_filter(port.trust))
    if _plain(port):
        chains += _plaintext(port, signals)
    return chains


def _mutual_tls(port: InboundPort, trust_domain: str, signals: Signals) -> list[FilterChain]:
    """Where plaintext is accepted too, chains are chosen by what the TLS inspector saw; TCP then asks for weft's own
    ALPN, since the application may speak TLS itself."""
    trust = trust_name(port.trust) if port.trust else ""
    others = tuple(domain.name for domain in port.trust.domains) if port.trust else ()
    http = mesh_server_socket(trust_domain, _HTTP_TLS, None, trust, others)
    refusing = [distrust.network_filter(port.refused)] if port.refused is not None else []
    if port.protocol not in (Protocol.TCP, Protocol.AUTO):
        match = FilterChainMatch(transport_protocol=_TLS) if _plain(port) else None
        return [filter_chain("mutual-tls", _http(port, signals, peers=True), match, http, before=refusing)]
    tcp = mesh_server_socket(trust_domain, (ALPN_TCP,), admitted(port.access), trust, others)
    asked = [*refusing, *connection_filters(port.access)]
    if port.protocol is Protocol.TCP:
        match = FilterChainMatch(transport_protocol=_TLS, application_protocols=[ALPN_TCP]) if _plain(port) else None
        return [filter_chain("mutual-tls", _tcp(port, signals, proven=True), match, tcp, before=asked)]
    chosen = FilterChainMatch(transport_protocol=_TLS, application_protocols=_HTTP_TLS)
    tls = FilterChainMatch(transport_protocol=_TLS, application_protocols=[ALPN_TCP] if port.turning else [])
    return [
        filter_chain("mutual-tls-http", _http(port, signals, peers=True), chosen, http, before=refusing),
        filter_chain("mutual-tls", _tcp(port, signals, proven=True), tls, tcp, before=asked),
    ]


def _plaintext(port: InboundPort, signals: Signals) -> list[FilterChain]:
    """Where mutual TLS is accepted too, proxies of the mesh speak it, so who comes here is none. Where it is not, they
    come here, over HTTP/2 if other endpoints of the service have mutual TLS."""
    peers = port.mode is MutualTlsMode.DISABLE
    asked = connection_filters(port.access)
    if port.protocol is Protocol.TCP:
        return [filter_chain("plaintext", _tcp(port, signals), before=asked)]
    if port.protocol is Protocol.AUTO:
        chosen = FilterChainMatch(transport_protocol="raw_buffer", application_protocols=_HTTP_PLAIN)
        return [
            filter_chain("plaintext-http", _http(port, signals, peers=peers), chosen),
            filter_chain("plaintext", _tcp(port, signals), before=asked),
        ]
    return [
        filter_chain("plaintext", _http(port, signals, peers=peers), FilterChainMatch(transport_protocol="raw_buffer"))
    ]


def _tcp(port: InboundPort, signals: Signals, *, proven: bool = False) -> Filter:
    name = inbound_cluster_name(port.port)
    logs, report = tcp_loggers(signals, Place.INBOUND), connection_report(signals)
    return tcp_proxy("inbound", name, tcp_times(port.limits), logs, proven=proven, report=report)


def _http(port: InboundPort, signals: Signals, *, peers: bool) -> Filter:
    name = inbound_cluster_name(port.port)
    given = {"http2": port.http2, "peers": peers, "http10": port.http10}
    wanted = limits.standing(port.limited)
    return inbound_manager(name, signals, **given, overload=port.overload, wanted=wanted)
