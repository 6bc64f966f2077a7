"""Views as the mesh compiler makes them, small enough to read, for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.mesh.routes.connections import Connections, Layer4Route, WeightedTarget
from weft.mesh.routes.rules import Forward, RequestMatch, Rule, TextMatch, VirtualHost, WeightedBackend
from weft.mesh.services.backends import opaque_target
from weft.mesh.services.service import (
    Backend,
    BackendKey,
    Endpoint,
    EndpointSet,
    Health,
    MutualTls,
    MutualTlsMode,
    Plaintext,
    Protocol,
    Target,
    TrafficPolicy,
)
from weft.mesh.views import (
    GatewayPort,
    GatewayServer,
    GatewayView,
    InboundPort,
    OutboundView,
    SidecarView,
    TargetsView,
    Tunnel,
    UpstreamPort,
)
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.origin import Origin
from weft.model.workload import SocketAddress
from weft.xds.services.names import cluster_name

TRUST_DOMAIN = "cluster.local"
HOST = "reviews.default.svc.cluster.local"
KEY = BackendKey(HOST, 9080)
BACKEND = cluster_name(KEY)
PLAINTEXT = Plaintext()
SERVICE = ObjectKey("", "Service", "default", "reviews")
NAMES = ("reviews", "reviews.default", "reviews.default.svc", HOST)
ORIGIN = Origin("mesh.yaml", 7)


def identity(account: str) -> SpiffeId:
    """A service account of the default namespace."""
    return SpiffeId(TRUST_DOMAIN, "default", account)


def endpoint(port: int, account: str = "reviews", **changes: Any) -> Endpoint:
    """A healthy instance on loopback."""
    fields: dict[str, Any] = {
        "workload": f"{account}-{port}",
        "address": SocketAddress("127.0.0.1", port),
        "health": Health.HEALTHY,
        "identity": identity(account),
        "labels": (),
    }
    return Endpoint(**(fields | changes))


def backend(key: BackendKey = KEY, **changes: Any) -> Backend:
    """A backend of the reviews service."""
    fields: dict[str, Any] = {
        "key": key,
        "protocol": Protocol.HTTP,
        "policy": TrafficPolicy(),
        "transport": MutualTls((identity("reviews"),)),
        "object": SERVICE,
        "origins": (ORIGIN,),
    }
    return Backend(**(fields | changes))


def looked_up(name: str, port: int = 80) -> tuple[Endpoint, ...]:
    """A host outside the mesh that DNS is asked for."""
    where = SocketAddress(name, port)
    return (Endpoint(name, where, Health.HEALTHY, None, (), mutual_tls=False),)


def target(*endpoints: Endpoint, to: Backend | None = None) -> Target:
    """A backend (that of the reviews service) with its endpoints."""
    to = to or backend()
    return Target(to, None if to.outside else EndpointSet(to.key, endpoints))


def targets(*found: Target) -> TargetsView:
    """What traffic can be sent to: the reviews service with one endpoint unless others are given."""
    return TargetsView(None, found or (target(endpoint(20001)),), TRUST_DOMAIN)


def layer4(key: BackendKey = KEY) -> Layer4Route:
    """Connections to one backend."""
    return Layer4Route((WeightedTarget(key),), ORIGIN, SERVICE)


def tunnel(domains: tuple[str, ...], port: int, key: BackendKey = KEY) -> Tunnel:
    """A TCP port whose connections all go to one backend."""
    return Tunnel(key.host, domains, port, Connections(otherwise=layer4(key)), SERVICE)


def upstream_port(listen: int, to: Backend | None = None, host: VirtualHost | None = None) -> UpstreamPort:
    """A loopback port that leads to a backend (the reviews service's)."""
    to = to or backend()
    where = SocketAddress("127.0.0.1", listen)
    if to.protocol not in (Protocol.TCP, Protocol.AUTO):
        return UpstreamPort(where, to.key.host, to.key.port, to.protocol, host)
    carried = to if to.protocol is Protocol.TCP else opaque_target(to).backend
    connections = Connections(otherwise=layer4(carried.key))
    return UpstreamPort(where, to.key.host, to.key.port, to.protocol, host, connections, (carried,))


def rule(action: Any = None, match: RequestMatch | None = None, **changes: Any) -> Rule:
    """A rule of an HTTPRoute; by default everything goes to the one backend."""
    fields: dict[str, Any] = {
        "name": "reviews/0",
        "match": match or RequestMatch(),
        "action": action or Forward((WeightedBackend(KEY),)),
        "origin": ORIGIN,
        "object": ObjectKey("gateway.networking.k8s.io", "HTTPRoute", "default", "reviews"),
    }
    return Rule(**(fields | changes))


def prefix(value: str) -> RequestMatch:
    """Requests whose path lies below `value`."""
    return RequestMatch(path=TextMatch("segment-prefix", value))


def virtual_host(rules: Iterable[Rule] = (), **changes: Any) -> VirtualHost:
    """The virtual host of the reviews service."""
    fields: dict[str, Any] = {
        "name": f"{HOST}:9080",
        "domains": NAMES,
        "port": 9080,
        "rules": tuple(rules) or (rule(),),
    }
    return VirtualHost(**(fields | changes))


def outbound(**changes: Any) -> OutboundView:
    """The rules of one service."""
    fields: dict[str, Any] = {
        "virtual_hosts": (virtual_host(),),
        "tunnels": (),
        "allow_any": False,
    }
    return OutboundView(**(fields | changes))


def inbound(listen: int = 20002, application: int = 20003, **changes: Any) -> InboundPort:
    """One HTTP port behind mutual TLS."""
    fields: dict[str, Any] = {
        "port": 9080,
        "listen": SocketAddress("127.0.0.1", listen),
        "application": SocketAddress("127.0.0.1", application),
        "protocol": Protocol.HTTP,
        "mode": MutualTlsMode.STRICT,
        "origins": (ORIGIN,),
    }
    return InboundPort(**(fields | changes))


def sidecar(view: OutboundView | None = None, **changes: Any) -> SidecarView:
    """A sidecar with one inbound port and the explicit proxy listener."""
    fields: dict[str, Any] = {
        "proxy": "productpage.default",
        "identity": identity("productpage"),
        "inbound": (inbound(),),
        "proxy_listen": SocketAddress("127.0.0.1", 20004),
        "upstreams": (),
        "targets": targets(),
        "outbound": view or outbound(),
        "trust_domain": TRUST_DOMAIN,
    }
    return SidecarView(**(fields | changes))


def gateway_port(listen: int = 20005, virtual_hosts: tuple[VirtualHost, ...] = (), **changes: Any) -> GatewayPort:
    """A plaintext listener of a Gateway with these hosts, or for every host."""
    fields: dict[str, Any] = {
        "port": 80,
        "listen": SocketAddress("127.0.0.1", listen),
        "protocol": "HTTP",
        "servers": (gateway_server(**({"virtual_hosts": virtual_hosts} if virtual_hosts else {})),),
        "object": ObjectKey("gateway.networking.k8s.io", "Gateway", "default", "edge"),
        "origin": Origin("gateway.yaml", 3),
    }
    return GatewayPort(**(fields | changes))


def gateway_server(**changes: Any) -> GatewayServer:
    """All hosts of the plaintext listener, each to the one backend."""
    fields: dict[str, Any] = {
        "name": "http",
        "hostnames": ("*",),
        "virtual_hosts": (virtual_host(domains=("*",), port=80, name="*:80"),),
    }
    return GatewayServer(**(fields | changes))


def gateway(*ports: GatewayPort, **changes: Any) -> GatewayView:
    """A gateway with these ports, or the plaintext one."""
    fields: dict[str, Any] = {
        "proxy": "edge.default",
        "identity": identity("edge"),
        "gateway": "default/edge",
        "ports": ports or (gateway_port(),),
        "certificates": (),
        "targets": targets(),
    }
    return GatewayView(**(fields | changes))
