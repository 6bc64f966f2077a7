"""Views as the mesh compiler makes them, small enough to read, for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.mesh.routes.rules import Forward, RequestMatch, Rule, TextMatch, VirtualHost, WeightedBackend
from weft.mesh.services.service import (
    Backend,
    Endpoint,
    EndpointSet,
    Health,
    MutualTlsMode,
    Protocol,
    TrafficPolicy,
    backend_name,
)
from weft.mesh.views import (
    GatewayPort,
    GatewayServer,
    GatewayView,
    InboundPort,
    OutboundView,
    SidecarView,
)
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.origin import Origin
from weft.model.workload import SocketAddress

TRUST_DOMAIN = "cluster.local"
HOST = "reviews.default.svc.cluster.local"
BACKEND = backend_name(HOST, 9080)
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


def backend(name: str = BACKEND, **changes: Any) -> Backend:
    """A backend of the reviews service."""
    _, port, subset, host = name.split("|")
    fields: dict[str, Any] = {
        "name": name,
        "host": host,
        "port": int(port),
        "subset": subset,
        "protocol": Protocol.HTTP,
        "policy": TrafficPolicy(),
        "identities": (identity("reviews"),),
        "tls": "all",
        "origins": (ORIGIN,),
    }
    return Backend(**(fields | changes))


def rule(action: Any = None, match: RequestMatch | None = None, **changes: Any) -> Rule:
    """A rule of an HTTPRoute; by default everything goes to the one backend."""
    fields: dict[str, Any] = {
        "name": "reviews/0",
        "match": match or RequestMatch(),
        "action": action or Forward((WeightedBackend(BACKEND),)),
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
    """One service with one endpoint."""
    fields: dict[str, Any] = {
        "name": "outbound",
        "virtual_hosts": (virtual_host(),),
        "tunnels": (),
        "backends": (backend(),),
        "endpoints": (EndpointSet(BACKEND, (endpoint(20001),)),),
        "allow_any": False,
        "trust_domain": TRUST_DOMAIN,
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
        "outbound": view or outbound(),
    }
    return SidecarView(**(fields | changes))


def gateway_port(listen: int = 20005, **changes: Any) -> GatewayPort:
    """A plaintext listener of a Gateway for every host."""
    fields: dict[str, Any] = {
        "port": 80,
        "listen": SocketAddress("127.0.0.1", listen),
        "protocol": "HTTP",
        "servers": (GatewayServer("http", "*", ()),),
        "route_name": "gateway|default/edge|80",
        "virtual_hosts": (virtual_host(domains=("*",), port=80, name="*:80"),),
        "origin": Origin("gateway.yaml", 3),
    }
    return GatewayPort(**(fields | changes))


def gateway(*ports: GatewayPort, **changes: Any) -> GatewayView:
    """A gateway with these ports, or the plaintext one."""
    fields: dict[str, Any] = {
        "proxy": "edge.default",
        "identity": identity("edge"),
        "gateway": "default/edge",
        "ports": ports or (gateway_port(),),
        "certificates": (),
        "backends": (backend(),),
        "endpoints": (EndpointSet(BACKEND, (endpoint(20001),)),),
        "trust_domain": TRUST_DOMAIN,
    }
    return GatewayView(**(fields | changes))
