"""Views: what one class of proxies may see and must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.service import Backend, EndpointSet, MutualTlsMode, Protocol
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


@dataclass(frozen=True, slots=True)
class OutboundView:
    """What the sidecars of one namespace (and source class, and scope) may call. Shared by all of them.

    `name` is the route configuration's name. Virtual hosts carry HTTP, WEBSOCKET, HTTP2 and AUTO ports;
    `tunnels` are the TCP ports, reached by CONNECT: (domains without port, port, backend name). `on_demand` says that
    the proxy may be told less than all backends, and asks for others when they are used.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    backends: tuple[Backend, ...]
    endpoints: tuple[EndpointSet, ...]
    allow_any: bool
    trust_domain: str
    on_demand: bool = False


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


TlsVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """What serves some hosts of a port by one route configuration, called `route_name`.

    A plaintext port has one for all its hosts; an HTTPS port has one for each listener of the Gateway document, chosen
    by the server name (SNI) that `hostname` covers (``*``: any). `misdirected` are the hostnames of the port's other
    listeners: who asks for a host of theirs here has come to the wrong one.
    """

    name: str
    hostname: str
    route_name: str
    virtual_hosts: tuple[VirtualHost, ...]
    certificates: tuple[str, ...] = ()
    misdirected: tuple[str, ...] = ()
    lowest_tls: TlsVersion = "1.3"


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """All listeners of one port: one address, one protocol. `object` is the Gateway that says so."""

    port: int
    listen: SocketAddress
    protocol: Literal["HTTP", "HTTPS"]
    servers: tuple[GatewayServer, ...]
    object: ObjectKey
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
