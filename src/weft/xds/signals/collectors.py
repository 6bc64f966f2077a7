"""Collectors: the clusters that lead to where spans and log lines are sent, and how Envoy is told to send them.

A Service of the mesh is reached by its own cluster, with the mesh's mutual TLS. Outside the mesh loopback is reached in
plaintext and everything else over TLS, by a certificate that the host's own trust store vouches for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_service_pb2 import HttpService
from envoy.config.core.v3.http_uri_pb2 import HttpUri

from weft.mesh.services.service import ConnectionLimits
from weft.mesh.signals import Collector, FileSink, Reporter, Signals
from weft.model.workload import SocketAddress
from weft.xds.limits import COLLECTOR_SECONDS, HTTP1_IDLE_SECONDS, HTTP2_IDLE_SECONDS
from weft.xds.messages import duration, tcp_address
from weft.xds.policies.tls import outside_client_socket
from weft.xds.resource import encode_resource
from weft.xds.services.cluster import base_cluster, set_dns, static_endpoints
from weft.xds.services.names import cluster_name
from weft.xds.services.protocol_options import CLUSTER_EXTENSION, client_options
from weft.xds.snapshot import CLUSTER, Resource

_LOCALHOST, _LOOPBACK = "localhost", ("127.0.0.1", "::1")
Headers = tuple[tuple[str, str], ...]


def collector_name(collector: Collector, grpc: bool) -> str:
    """The name of its cluster: ``collector|HOST:PORT``, or that of the Service. gRPC speaks HTTP/2, all else HTTP/1."""
    if collector.backend is not None:
        return cluster_name(collector.backend)
    return f"collector|{authority_of(collector)}" + ("" if grpc else "|http")


def grpc_service(collector: Collector, headers: Headers = (), timeout: float | None = None) -> GrpcService:
    """How spans or log lines go there over gRPC. Envoy ends a message that takes longer than `timeout`."""
    name = collector_name(collector, grpc=True)
    return GrpcService(
        envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=name, authority=authority_of(collector)),
        timeout=duration(timeout or COLLECTOR_SECONDS),
        initial_metadata=[HeaderValue(key=key, value=value) for key, value in headers],
    )


def http_service(collector: Collector, path: str, headers: Headers = (), timeout: float | None = None) -> HttpService:
    """How they go there over HTTP. Envoy takes the host from the URI and the connection from the cluster."""
    service = HttpService(
        http_uri=HttpUri(
            uri=f"http://{authority_of(collector)}{path}",
            cluster=collector_name(collector, grpc=False),
            timeout=duration(timeout or COLLECTOR_SECONDS),
        )
    )
    for key, value in headers:
        service.request_headers_to_add.add().header.CopyFrom(HeaderValue(key=key, value=value))
    return service


def resource_attributes(reporter: Reporter) -> dict[str, str]:
    """What OpenTelemetry's semantic conventions call the workload, but for its service's name."""
    return {
        "service.namespace": reporter.namespace,
        "service.version": reporter.revision,
        "service.instance.id": f"{reporter.workload}.{reporter.namespace}",
    }


def collectors_used(every: Iterable[Signals]) -> tuple[tuple[Collector, bool], ...]:
    """The collectors that signals go to, each once and in order, and whether over gRPC."""
    found: dict[tuple[Collector, bool], None] = {}
    for signals in every:
        if signals.tracing is not None:
            found[(signals.tracing.collector, signals.tracing.provider == "opentelemetry-grpc")] = None
        found.update({(log.sink.collector, True): None for log in signals.logs if not isinstance(log.sink, FileSink)})
    return tuple(sorted(found, key=lambda each: collector_name(*each)))


def required_collectors(signals: Signals) -> tuple[tuple[str, str], ...]:
    """What a proxy must hold before a listener with these `signals`."""
    return tuple((CLUSTER, collector_name(collector, grpc)) for collector, grpc in collectors_used((signals,)))


def encode_collector(collector: Collector, grpc: bool) -> Resource:
    """The cluster of a collector outside the mesh."""
    name = collector_name(collector, grpc)
    host = collector.host
    where = SocketAddress(_LOOPBACK[0] if host == _LOCALHOST else host, collector.port)
    cluster = base_cluster(name, ConnectionLimits())
    if _address(where.host) is not None:
        cluster.type = Cluster.STATIC
    else:
        set_dns(cluster)
    cluster.load_assignment.CopyFrom(static_endpoints(name, tcp_address(where)))
    if host == _LOCALHOST:  # DNS would give one of both, and the server may listen at the other
        other = tcp_address(SocketAddress(_LOOPBACK[1], collector.port))
        endpoint = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint
        endpoint.additional_addresses.add(address=other)
    idle = HTTP2_IDLE_SECONDS if grpc else HTTP1_IDLE_SECONDS
    cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
        client_options(http2=grpc, upgrades=False, keepalive=grpc, idle=idle)
    )
    if not _loopback(host):
        cluster.transport_socket.CopyFrom(outside_client_socket(host, _address(host) is not None, http2=grpc))
    return encode_resource(cluster, name)


def authority_of(collector: Collector) -> str:
    """``HOST:PORT`` as it stands in a URL."""
    host, port = (collector.host, collector.port) if collector.backend is None else collector.backend[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback
