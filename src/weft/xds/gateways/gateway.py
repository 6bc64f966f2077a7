"""A gateway's listeners, routes and certificates: where strangers come in."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch

from weft.mesh.memo import Memo
from weft.mesh.views import Certificate, GatewayPort
from weft.xds.http_connection_manager import gateway_manager
from weft.xds.limits import EDGE
from weft.xds.listener import filter_chain, tcp_listener, tls_inspector
from weft.xds.messages import provenance
from weft.xds.policies.tls import edge_server_socket, server_certificate
from weft.xds.resource import encode_resource
from weft.xds.routes.domains import DomainLedger
from weft.xds.routes.route_configuration import clusters_of, origins_of, route_configuration, virtual_host
from weft.xds.snapshot import CLUSTER, ROUTES, SECRET, Resource


def gateway_listener_name(port: int) -> str:
    """The name of the listener for a Gateway's port."""
    return f"gateway|{port}"


def encode_gateway_listener(port: GatewayPort) -> Resource | None:
    """The listener of one port; None for an HTTPS port without any certificate, which could serve nobody."""
    manager = gateway_manager(port.route_name)
    requires: tuple[tuple[str, str], ...] = ((ROUTES, port.route_name),)
    if port.protocol == "HTTP":
        chains = [filter_chain("http", manager)]
    else:
        chains = _https_chains(port)
        certificates = sorted({name for server in port.servers for name in server.certificates})
        requires += tuple((SECRET, name) for name in certificates)
    if not chains:
        return None
    listener = tcp_listener(gateway_listener_name(port.port), port.listen, EDGE.buffer, chains)
    listener.traffic_direction = base_pb2.INBOUND
    listener.metadata.CopyFrom(provenance((port.origin,), ""))
    if port.protocol == "HTTPS":
        listener.listener_filters.append(tls_inspector())
    return encode_resource(listener, listener.name, (port.origin,), requires)


def encode_gateway_routes(port: GatewayPort, memo: Memo) -> Resource:
    """The route configuration of one port. Clients may write any port behind the host: they see another one."""
    ledger = DomainLedger()
    parts = []
    for host in port.virtual_hosts:
        domains = ledger.claim(host.domains)
        if domains:
            parts.append(
                memo(virtual_host, host, host.name, domains, "", _has_wildcard(domains), port.protocol.lower())
            )
    requires = tuple((CLUSTER, name) for name in clusters_of(port.virtual_hosts))
    message = route_configuration(port.route_name, parts, ignore_port=True)
    return encode_resource(message, port.route_name, (port.origin, *origins_of(port.virtual_hosts)), requires)


def encode_certificate(certificate: Certificate) -> Resource:
    """A certificate with its key, for the gateway that serves it and nobody else."""
    secret = server_certificate(certificate.name, certificate.chain, certificate.key)
    return encode_resource(secret, certificate.name, (certificate.origin,))


def _has_wildcard(domains: tuple[str, ...]) -> bool:
    return any("*" in domain for domain in domains)


def _https_chains(port: GatewayPort) -> list[FilterChain]:
    """One chain per host name, chosen by the name the client asks for (SNI). The first of equal ones stands."""
    chains: dict[str, FilterChain] = {}
    for server in port.servers:
        hostname = server.hostname.lower()
        if not server.certificates or hostname in chains:
            continue
        match = FilterChainMatch(transport_protocol="tls")
        if hostname not in ("", "*"):
            match.server_names.append(hostname)
        socket = edge_server_socket(server.certificates)
        chains[hostname] = filter_chain(server.name, gateway_manager(port.route_name), match, socket)
    return list(chains.values())
