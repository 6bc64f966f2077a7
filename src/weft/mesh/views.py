"""Views: what one class of proxies may see and must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.service import Backend, EndpointSet, MutualTlsMode, Protocol
from weft.model.identity import SpiffeId
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


@dataclass(frozen=True, slots=True)
class OutboundView:
    """What the sidecars of one namespace (and source class, and scope) may call. Shared by all of them.

    `name` is the route configuration's name. Virtual hosts carry HTTP, WEBSOCKET, HTTP2 and AUTO ports;
    `tunnels` are the TCP ports, reached by CONNECT: (domains without port, port, backend name).
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    backends: tuple[Backend, ...]
    endpoints: tuple[EndpointSet, ...]
    allow_any: bool
    trust_domain: str


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A TCP port that CONNECT reaches by name."""

    domains: tuple[str, ...]
    port: int
    backend: str


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One application port behind the proxy."""

    port: int
    listen: SocketAddress
    application: SocketAddress
    protocol: Protocol
    mode: MutualTlsMode
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamPort:
    """A loopback port that leads to a service. HTTP ones route by the service's virtual host, TCP ones to `backend`."""

    listen: SocketAddress
    host: str
    port: int
    protocol: Protocol
    backend: str


@dataclass(frozen=True, slots=True)
class SidecarView:
    """Everything one sidecar does. Only `outbound` is large, and it is shared by identity."""

    proxy: str
    identity: SpiffeId
    inbound: tuple[InboundPort, ...]
    proxy_listen: SocketAddress | None
    upstreams: tuple[UpstreamPort, ...]
    outbound: OutboundView


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate from a Secret. `name` is ``namespace/name``; the key is never shown by repr."""

    name: str
    chain: bytes
    key: bytes
    origin: Origin

    def __repr__(self) -> str:
        return f"Certificate({self.name!r})"


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One listener of the Gateway document: hosts (``*`` for all) behind a port, with certificates if HTTPS."""

    name: str
    hostname: str
    certificates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """All listeners of one port: one address, one protocol; for HTTPS chosen by server name (SNI).

    `route_name` names its route configuration, whose virtual hosts are `virtual_hosts`.
    """

    port: int
    listen: SocketAddress
    protocol: Literal["HTTP", "HTTPS"]
    servers: tuple[GatewayServer, ...]
    route_name: str
    virtual_hosts: tuple[VirtualHost, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class GatewayView:
    """Everything one gateway proxy does: only the backends its routes use."""

    proxy: str
    identity: SpiffeId
    gateway: str
    ports: tuple[GatewayPort, ...]
    certificates: tuple[Certificate, ...]
    backends: tuple[Backend, ...]
    endpoints: tuple[EndpointSet, ...]
    trust_domain: str


ProxyView = SidecarView | GatewayView
