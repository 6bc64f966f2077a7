"""A gateway's listeners, routes and certificates: where strangers come in."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Respond
from weft.mesh.signals import Signals
from weft.mesh.views import Certificate, ClientRoots, GatewayPort, GatewayServer
from weft.xds.filters import limits
from weft.xds.filters.chain import access_extensions, access_filters, required_slots
from weft.xds.filters.place import Place
from weft.xds.gateways.chains import layer4_chain, layer4_requires, secrets_of
from weft.xds.gateways.http3 import alt_svc, http3_listener, quic_server_socket
from weft.xds.http_connection_manager import gateway_manager
from weft.xds.limits import EDGE, LONGEST_REQUEST_SECONDS
from weft.xds.listener import filter_chain, tcp_listener, tls_inspector
from weft.xds.messages import provenance
from weft.xds.policies.clients import client_filters
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes
from weft.xds.policies.tls import client_roots_secret, edge_server_socket, server_certificate
from weft.xds.resource import encode_resource
from weft.xds.routes.actions import respond_action
from weft.xds.routes.domains import DomainLedger
from weft.xds.routes.requirements import required_by, required_of
from weft.xds.routes.route_configuration import Entry, clusters_of, encode_routes, host_part, origins_of, virtual_host
from weft.xds.signals.collectors import required_collectors
from weft.xds.snapshot import ROUTES, SECRET, Resource

_MISDIRECTED = b"weft: this host has another listener; connect with its own name\n"


def gateway_listener_name(port: int) -> str:
    """The name of the listener for a Gateway's port."""
    return f"gateway|{port}"


def route_name(port: GatewayPort, server: GatewayServer) -> str:
    """The name of the route configuration of a server: of the port, where it has one for all its hosts."""
    return gateway_listener_name(port.port) if port.protocol == "HTTP" else f"gateway|{port.port}|{server.name}"


def encode_gateway_listener(
    port: GatewayPort, signals: Signals, trust_domain: str, times: tuple[TcpTimes, ...] = ()
) -> Resource:
    """The listener of one port. The order of its chains means nothing, so it is not the document's. `times` are those
    of its chains that pass connections on."""
    servers = sorted(port.servers, key=lambda server: server.name)
    carried = zip(port.chains, times or [DEFAULT_TIMES] * len(port.chains), strict=True)
    found = sorted(carried, key=lambda pair: pair[0].name)
    passing = [chain for chain, _ in found]
    chains = [_chain(port, server, signals, trust_domain) for server in servers]
    chains += [layer4_chain(port, chain, signals, trust_domain, each) for chain, each in found]
    listener = tcp_listener(gateway_listener_name(port.port), port.listen, EDGE.buffer, chains)
    listener.traffic_direction = base_pb2.INBOUND
    listener.metadata.CopyFrom(provenance(str(port.object)))
    if port.protocol in ("HTTPS", "TLS"):
        listener.listener_filters.append(tls_inspector())
    requires = _requires(port, servers)
    requires += sorted({each for chain in passing for each in layer4_requires(chain)} - set(requires))
    requires += required_collectors(signals)
    return encode_resource(listener, listener.name, (port.origin,), tuple(requires))


def encode_http3_listener(port: GatewayPort, signals: Signals, trust_domain: str) -> Resource:
    """The QUIC listener of a port that offers HTTP/3: those of its servers that do, with routes, filters and
    certificates of the TLS listener."""
    servers = sorted((server for server in port.servers if server.http3), key=lambda server: server.name)
    chains = [_chain(port, server, signals, trust_domain, quic=True) for server in servers]
    listener = http3_listener(port, chains)
    requires = (*_requires(port, servers), *required_collectors(signals))
    return encode_resource(listener, listener.name, (port.origin,), requires)


def _requires(port: GatewayPort, servers: list[GatewayServer]) -> list[tuple[str, str]]:
    """What a client has to have before a listener with these servers."""
    requires = [(ROUTES, route_name(port, server)) for server in servers]
    wanted = _limited(port)
    requires += [
        each for server in servers for each in required_slots(Place.GATEWAY, route_name(port, server), *wanted)
    ]
    requires += [(SECRET, name) for name in sorted({name for server in servers for name in secrets_of(server.tls)})]
    return requires


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
    name, clusters = route_name(port, server), clusters_of(server.virtual_hosts)
    filters = access_filters(Place.GATEWAY, port.access, name)
    requires = (*required_by(server.virtual_hosts), *required_of(port.access))
    offer = alt_svc(server.http3) if server.http3 else ""
    return encode_routes(
        name, parts, origins, clusters, ignore_port=True, filters=filters, requires=requires, alternative=offer
    )


def encode_gateway_extensions(port: GatewayPort, server: GatewayServer) -> tuple[Resource, ...]:
    """What the filters of one server need beside its routes."""
    return tuple(access_extensions(Place.GATEWAY, port.access, route_name(port, server)))


def encode_certificate(certificate: Certificate) -> Resource:
    """A certificate with its key, for the gateway that serves it and nobody else."""
    secret = server_certificate(certificate.name, certificate.chain, certificate.key)
    return encode_resource(secret, certificate.name, (certificate.origin,))


def encode_client_roots(roots: ClientRoots) -> Resource:
    """Who vouches for the clients of a gateway."""
    return encode_resource(client_roots_secret(roots), roots.name, (roots.origin,))


def _chain(
    port: GatewayPort, server: GatewayServer, signals: Signals, trust_domain: str, *, quic: bool = False
) -> FilterChain:
    """HTTPS chooses a chain by the name the client asks for (SNI)."""
    longest, wanted = _longest(port.longest_request), _limited(port)
    given = (route_name(port, server), signals, str(port.object), longest, wanted)
    manager = gateway_manager(*given, http10=port.http10 and not quic)
    if server.tls is None:
        return filter_chain(server.name, manager)
    match = FilterChainMatch(transport_protocol="tls")
    if "*" not in server.hostnames:
        match.server_names.extend(server.hostnames)
    return filter_chain(
        server.name,
        manager,
        match,
        quic_server_socket(server.tls, trust_domain) if quic else edge_server_socket(server.tls, trust_domain),
        before=client_filters(server.tls, trust_domain),
    )


def _limited(port: GatewayPort) -> tuple[str, ...]:
    """The optional filters that stand there: those of limits."""
    return limits.standing(sorted({policy.kind for policy in port.access.limits}))


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
