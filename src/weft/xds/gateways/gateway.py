"""A gateway's listeners, routes and certificates: where strangers come in."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Respond
from weft.mesh.views import Certificate, GatewayPort, GatewayServer
from weft.xds.filters.chain import Place
from weft.xds.http_connection_manager import gateway_manager
from weft.xds.limits import EDGE, LONGEST_REQUEST_SECONDS
from weft.xds.listener import filter_chain, tcp_listener, tls_inspector
from weft.xds.messages import provenance
from weft.xds.policies.tls import edge_server_socket, server_certificate
from weft.xds.resource import encode_resource
from weft.xds.routes.actions import respond_action
from weft.xds.routes.domains import DomainLedger
from weft.xds.routes.route_configuration import Entry, clusters_of, encode_routes, host_part, origins_of, virtual_host
from weft.xds.snapshot import ROUTES, SECRET, Resource

_MISDIRECTED = b"weft: this host has another listener; connect with its own name\n"


def gateway_listener_name(port: int) -> str:
    """The name of the listener for a Gateway's port."""
    return f"gateway|{port}"


def route_name(port: GatewayPort, server: GatewayServer) -> str:
    """The name of the route configuration of a server: of the port, where it has one for all its hosts."""
    return gateway_listener_name(port.port) if port.protocol == "HTTP" else f"gateway|{port.port}|{server.name}"


def encode_gateway_listener(port: GatewayPort) -> Resource:
    """The listener of one port. The order of its chains means nothing, so it is not the document's."""
    servers = sorted(port.servers, key=lambda server: server.name)
    chains = [_chain(port, server) for server in servers]
    listener = tcp_listener(gateway_listener_name(port.port), port.listen, EDGE.buffer, chains)
    listener.traffic_direction = base_pb2.INBOUND
    listener.metadata.CopyFrom(provenance(str(port.object)))
    if port.protocol == "HTTPS":
        listener.listener_filters.append(tls_inspector())
    certificates = sorted({name for server in port.servers for name in server.certificates})
    requires = [(ROUTES, route_name(port, server)) for server in servers]
    requires += [(SECRET, name) for name in certificates]
    return encode_resource(listener, listener.name, (port.origin,), tuple(requires))


def encode_gateway_routes(memo: Memo, port: GatewayPort, server: GatewayServer) -> Resource:
    """The route configuration of one server. Clients may write any port behind the host: they see another one."""
    ledger = DomainLedger()
    entry = memo(_entry, port.protocol, port.longest_request)
    parts = []
    for host in server.virtual_hosts:
        domains = ledger.claim(host.domains)
        if domains:
            parts.append(memo(virtual_host, host, domains, entry))
    others = ledger.claim(server.misdirected)
    if others:
        parts.append(_misdirected(others))
    origins = (port.origin, *origins_of(server.virtual_hosts))
    return encode_routes(route_name(port, server), parts, origins, clusters_of(server.virtual_hosts), ignore_port=True)


def encode_certificate(certificate: Certificate) -> Resource:
    """A certificate with its key, for the gateway that serves it and nobody else."""
    secret = server_certificate(certificate.name, certificate.chain, certificate.key)
    return encode_resource(secret, certificate.name, (certificate.origin,))


def _chain(port: GatewayPort, server: GatewayServer) -> FilterChain:
    """HTTPS chooses a chain by the name the client asks for (SNI)."""
    manager = gateway_manager(route_name(port, server), str(port.object), _longest(port.longest_request))
    if port.protocol == "HTTP":
        return filter_chain(server.name, manager)
    match = FilterChainMatch(transport_protocol="tls")
    if server.hostname != "*":
        match.server_names.append(server.hostname)
    return filter_chain(server.name, manager, match, edge_server_socket(server.certificates, server.lowest_tls))


def _entry(protocol: str, longest: float | None) -> Entry:
    return Entry(Place.GATEWAY, protocol.lower(), longest=_longest(longest))


def _longest(given: float | None) -> float:
    return LONGEST_REQUEST_SECONDS if given is None else given


def _misdirected(domains: tuple[str, ...]) -> bytes:
    """RFC 9110, 15.5.20: the client opens a connection with the name it wants. Browsers use one connection for all
    hosts of a certificate until they are told so."""
    answer = Route(
        name="misdirected",
        match=RouteMatch(prefix="/"),
        direct_response=respond_action(Respond(421, _MISDIRECTED)),
    )
    return host_part(VirtualHost(name="misdirected", domains=domains, routes=[answer]))
