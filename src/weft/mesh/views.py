"""Views: what one class of proxies may see and must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.mesh.routes.rules import Layer4Route, VirtualHost
from weft.mesh.services.backends import Targets
from weft.mesh.services.service import Backend, MutualTlsMode, Protocol, Target
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


@dataclass(frozen=True, slots=True, eq=False)
class TargetsView:
    """What traffic can be sent to. Shared by all proxies that see it alike, and compared by identity.

    `base` are the backends of the whole mesh, of which `own` take the place of those with the same keys; without `base`
    they are all there is. `on_demand`: a proxy is told about one when it asks for it by name, but for `told`.
    """

    base: Targets | None
    own: tuple[Target, ...]
    trust_domain: str
    on_demand: bool = False
    told: tuple[Target, ...] = ()

    def targets(self) -> tuple[Target, ...]:
        """All of them, sorted by key."""
        found = dict(self.base.by_key) if self.base is not None else {}
        found.update((target.backend.key, target) for target in self.own)
        return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True, slots=True, eq=False)
class OutboundView:
    """By which rules the sidecars of one namespace (and source class, and scope) call. Shared by all of them, and
    compared by identity.

    Virtual hosts carry HTTP, WEBSOCKET, HTTP2 and AUTO ports; `tunnels` are the TCP ports, reached by CONNECT;
    `refusals` answer what neither of them does. `on_demand`: the proxy may be told about fewer backends than its
    rules name, and asks for others when they are used. `allow_any`: hosts that no document names can be called, and
    `connect_timeout` is how long a connection to one may take to make, in seconds (None: weft's default).
    """

    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    allow_any: bool
    on_demand: bool = False
    connect_timeout: float | None = None
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Names of the mesh that lead nowhere: `domains` (without port) with every port that nobody answers, and without
    one if `bare`. Callers are told `reason`; no DNS is asked. Compared by identity."""

    domains: tuple[str, ...]
    bare: bool
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Tunnel:
    """A TCP port that CONNECT reaches by one of its `domains` (without port)."""

    domains: tuple[str, ...]
    port: int
    route: Layer4Route


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
    """A loopback port that leads to a service. HTTP routes by the service's `virtual_host`, connections by `route`;
    `backend` is the service's own."""

    listen: SocketAddress
    host: str
    port: int
    protocol: Protocol
    backend: Backend
    virtual_host: VirtualHost | None
    route: Layer4Route


@dataclass(frozen=True, slots=True)
class SidecarView:
    """Everything one sidecar does. Only `targets` and `outbound` are large, and they are shared by identity."""

    proxy: str
    identity: SpiffeId
    inbound: tuple[InboundPort, ...]
    proxy_listen: SocketAddress | None
    upstreams: tuple[UpstreamPort, ...]
    targets: TargetsView
    outbound: OutboundView
    trust_domain: str


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
    """What serves some hosts of a port by rules of their own.

    A plaintext port has one for all its hosts; an HTTPS port has one for each listener of the Gateway document, chosen
    by the server name (SNI) that `hostname` covers (``*``: any). `misdirected` are the hostnames of the port's other
    listeners: who asks for a host of theirs here has come to the wrong one.
    """

    name: str
    hostname: str
    virtual_hosts: tuple[VirtualHost, ...]
    certificates: tuple[str, ...] = ()
    misdirected: tuple[str, ...] = ()
    lowest_tls: TlsVersion = "1.3"


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """All listeners of one port: one address, one protocol. `object` is the Gateway that says so. `longest_request` is
    how long a request may last as a whole, in seconds (0: for ever, None: weft's default)."""

    port: int
    listen: SocketAddress
    protocol: Literal["HTTP", "HTTPS"]
    servers: tuple[GatewayServer, ...]
    object: ObjectKey
    origin: Origin
    longest_request: float | None = None


@dataclass(frozen=True, slots=True)
class GatewayView:
    """Everything one gateway proxy does: only the backends its routes use."""

    proxy: str
    identity: SpiffeId
    gateway: str
    ports: tuple[GatewayPort, ...]
    certificates: tuple[Certificate, ...]
    targets: TargetsView


ProxyView = SidecarView | GatewayView
