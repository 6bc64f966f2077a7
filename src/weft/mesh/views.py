"""Views: what one class of proxies may see and must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.limits import LimitKind
from weft.mesh.patches import NO_PATCHES, Patches
from weft.mesh.policies.distrust import Refused
from weft.mesh.policies.federatedtrustdomain import ForeignTrust
from weft.mesh.routes.connections import NO_CONNECTIONS, Connections, Layer4Route
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.backends import Targets
from weft.mesh.services.resilience import Overload
from weft.mesh.services.service import (
    NO_LIMITS,
    Backend,
    BackendKey,
    ConnectionLimits,
    Endpoint,
    MutualTlsMode,
    Protocol,
    Target,
)
from weft.mesh.signals import STANDARD, Signals
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.names import NameTable
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


@dataclass(frozen=True, slots=True, eq=False)
class TargetsView:
    """What traffic can be sent to. Shared by all proxies that see it alike, and compared by identity.

    `base` are the backends of the whole mesh, of which `own` take the place of those with the same keys; without `base`
    they are all there is. `on_demand`: a proxy is told about one when it asks for it by name, but for `told`.
    `trust_epoch` is that of the mesh (`MeshSettings`): connections end where it changes. `carried` are told always:
    those to which connections are carried as they are.
    """

    base: Targets | None
    own: tuple[Target, ...]
    trust_domain: str
    on_demand: bool = False
    told: tuple[Target, ...] = ()
    trust_epoch: int = 0
    carried: tuple[Target, ...] = ()

    def find(self, key: BackendKey) -> Target | None:
        """The one of a key, if there is one."""
        own = next((target for target in self.own if target.backend.key == key), None)
        return own or (self.base.by_key.get(key) if self.base is not None else None)

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
    `by_address`: connections to the addresses of services are captured; a request on one is for no other host.
    """

    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    allow_any: bool
    on_demand: bool = False
    connect_timeout: float | None = None
    refusals: tuple[Refusal, ...] = ()
    by_address: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Names of the mesh that lead nowhere: `domains` (without port) with every port that nobody answers, and without
    one if `bare`. Callers are told `reason`; no DNS is asked. Compared by identity."""

    domains: tuple[str, ...]
    bare: bool
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Tunnel:
    """A TCP port of `host` that CONNECT reaches by one of its `domains` (without port). `object` declares it. `inside`
    are, while the port turns, the rules for requests: those in CONNECTs of the time when it carried these."""

    host: str
    domains: tuple[str, ...]
    port: int
    connections: Connections
    object: ObjectKey
    inside: VirtualHost | None = None


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One application port behind the proxy. `service` is the full name of the Service that leads there, and the port
    of it that does; the first by name where several do, empty where none does. `refused` are callers whose trust has
    ended, `trust` the other trust domains that are believed, `overload` is what is refused on the application's behalf,
    `limits` bound what it is sent, `http10` takes callers that speak HTTP/1.0. `access` says who may call it; where it
    asks for anything, `unasked` is the port without it: the same object while only `access` changes. `limited` are the
    kinds of its limits. `turning`: while it accepts requests and connections because it turns, what its application
    speaks when it gets requests. `led`: it binds no port, and takes the connections that were made to these addresses
    and led to the listener for all ports; `transparent`: its application sees the callers' addresses."""

    port: int
    listen: SocketAddress
    application: SocketAddress
    protocol: Protocol
    mode: MutualTlsMode
    origins: tuple[Origin, ...] = ()
    service: tuple[str, int] = ("", 0)
    refused: Refused | None = None
    access: Access = OPEN
    unasked: InboundPort | None = None
    trust: ForeignTrust | None = None
    limits: ConnectionLimits = NO_LIMITS
    limited: tuple[LimitKind, ...] = ()
    overload: Overload | None = None
    http10: bool = False
    turning: Protocol | None = None
    led: tuple[SocketAddress, ...] = ()
    transparent: bool = False

    @property
    def http2(self) -> bool:
        """Whether its application speaks HTTP/2."""
        return (self.turning or self.protocol) is Protocol.HTTP2


@dataclass(frozen=True, slots=True)
class UpstreamPort:
    """A loopback port that leads to a service. HTTP routes by the service's `virtual_host`, what is not HTTP by
    `connections`, which lead to `backends`."""

    listen: SocketAddress
    host: str
    port: int
    protocol: Protocol
    virtual_host: VirtualHost | None
    connections: Connections = NO_CONNECTIONS
    backends: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CapturedPort:
    """A port of `host`, to which connections are captured that were addressed to one of `addresses` (or ranges) at it.
    Requests are routed by their host; what carries none goes by `connections`, through `inside` where names decide that
    are read there. `called` (empty: no) is the name of a host whose callers say where to: any address at which nobody
    else is may be its, and with `tls` its connections name it. Compared by identity."""

    host: str
    port: int
    addresses: tuple[str, ...]
    protocol: Protocol
    connections: Connections = NO_CONNECTIONS
    inside: Tunnel | None = None
    called: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class CapturedInstance:
    """An instance of the headless service of `key`, called by its own `address` at `port`. `accepts` is where its proxy
    does so, or without `mutual_tls` it itself."""

    key: BackendKey
    address: str
    port: int
    accepts: SocketAddress
    mutual_tls: bool


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """What captured connections may be for. `direct` are the backends of the ports of `instances`. Shared by all
    sidecars of one class of callers, and compared by identity."""

    ports: tuple[CapturedPort, ...]
    instances: tuple[CapturedInstance, ...] = ()
    direct: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True)
class SidecarView:
    """Everything one sidecar does. Only `targets` and `outbound` are large, and they are shared by identity. `outgoing`
    is what it says of calls that its application makes, `incoming` of those that come. `secret`: its outbound proxy
    serves only who knows the workload's secret, `http10`: also an application that speaks HTTP/1.0. `patches` are
    applied to all that. `names` are for its agent, which answers questions for them (None: it does not). Connections
    that are led to `capture` (none: they come from within the proxy) are for what `captured` says (None: it captures
    nothing); those of callers are led to `inbound_capture` (none: the ports of `inbound` listen themselves)."""

    proxy: str
    identity: SpiffeId
    inbound: tuple[InboundPort, ...]
    proxy_listen: SocketAddress | None
    upstreams: tuple[UpstreamPort, ...]
    targets: TargetsView
    outbound: OutboundView
    trust_domain: str
    outgoing: Signals = STANDARD
    incoming: Signals = STANDARD
    secret: bool = False
    trust_epoch: int = 0
    credentials: tuple[Credential, ...] = ()
    http10: bool = False
    patches: Patches = NO_PATCHES
    names: NameTable | None = None
    capture: tuple[SocketAddress, ...] = ()
    captured: Captured | None = None
    inbound_capture: tuple[SocketAddress, ...] = ()
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate from a Secret. `name` is ``namespace/name``; the key is never shown by repr. Without a chain
    it is there and cannot be read now: proxies keep what they hold."""

    name: str
    chain: bytes
    key: bytes
    origin: Origin

    def __repr__(self) -> str:
        return f"Certificate({self.name!r})"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a proxy shows to servers outside the mesh and whom it believes there, from the Secret `name` of its own
    namespace: a certificate (`chain`, `key`), the `authorities` that vouch for servers, and certificates that these
    took back (`crl`), each PEM and empty where there is none. The key is never shown by repr."""

    name: str
    chain: bytes
    key: bytes
    authorities: bytes
    crl: bytes
    origin: Origin

    def __repr__(self) -> str:
        return f"Credential({self.name!r})"


TlsVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class ClientRoots:
    """Who vouches for clients of a gateway: authorities, and lists of what they took back, in PEM. `name` is that of
    the secret in which proxies get them. Without `roots` they are there and cannot be read now."""

    name: str
    roots: bytes
    crl: bytes
    origin: Origin


@dataclass(frozen=True, slots=True)
class ClientCheck:
    """What a gateway asks of its clients' certificates: that `roots` (a secret) vouch for them, that they have one of
    `names` and one of the hashes, where any are given. Who has none passes unless it is `required`, and with `lenient`
    who has one that nobody vouches for. `unsent`: the roots cannot be read now."""

    roots: str
    required: bool = True
    lenient: bool = False
    names: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class EdgeTls:
    """How TLS ends at a gateway: with `certificates` (names of secrets; `unsent` are those that cannot be read now), in
    versions from `lowest` to `highest`, with these `ciphers` of TLS 1.2 (none: weft's). `clients` are asked for
    certificates. `mesh`: it is the mesh's own mutual TLS, and nothing else of this is."""

    certificates: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()
    lowest: TlsVersion = "1.3"
    highest: TlsVersion = "1.3"
    ciphers: tuple[str, ...] = ()
    clients: ClientCheck | None = None
    mesh: bool = False


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """What serves some hosts of a port by rules of their own.

    Everything without TLS of a port has one for all its hosts; with TLS there is one for each listener, chosen by the
    server name (SNI) that one of `hostnames` covers (``*``: any). `misdirected` are the hostnames of the port's other
    listeners: who asks for a host of theirs here has come to the wrong one. HTTP/3 is offered on UDP port `http3`, 0
    for none.
    """

    name: str
    hostnames: tuple[str, ...]
    virtual_hosts: tuple[VirtualHost, ...]
    tls: EdgeTls | None = None
    misdirected: tuple[str, ...] = ()
    http3: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Layer4Chain:
    """Connections of a port that are passed on by `route`, whatever they carry: those that ask for one of `hostnames`
    (SNI; none: without TLS, or for any name) and go to one of `subnets` (none: any). With `tls` it ends here; without,
    a TLS connection is passed on as it is. An `automatic` one has no route: the name says port, subset and service.
    Compared by identity."""

    name: str
    route: Layer4Route
    hostnames: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    tls: EdgeTls | None = None
    automatic: bool = False


GatewayProtocol = Literal["HTTP", "HTTPS", "TLS", "TCP", "UDP"]


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """All listeners of one port: one address; `protocol` is that of the first (HTTPS and TLS may share a port) and
    `object` what says so. Requests are served by `servers`, connections passed on by `chains`. `longest_request`
    is how long a request may last as a whole, in seconds (0: for ever, None: weft's default). `access` says who may
    call, `http10` takes clients that speak HTTP/1.0."""

    port: int
    listen: SocketAddress
    protocol: GatewayProtocol
    servers: tuple[GatewayServer, ...]
    object: ObjectKey
    origin: Origin
    longest_request: float | None = None
    access: Access = OPEN
    chains: tuple[Layer4Chain, ...] = ()
    http10: bool = False


@dataclass(frozen=True, slots=True)
class DatagramShare:
    """A share of a UDP port's sessions, and the instances that divide it; without any its datagrams are dropped. One of
    weight 0 has no new sessions, and keeps those that it has."""

    weight: int
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DatagramPort:
    """A UDP port, whose sessions are divided over `shares`; without any all datagrams are dropped. `object` is what
    says that it is open, `route` where it is said who gets them. `shared`: several worker threads take its datagrams.
    Compared by identity."""

    port: int
    listen: SocketAddress
    shares: tuple[DatagramShare, ...]
    object: ObjectKey
    origin: Origin
    route: Origin
    shared: bool = False


@dataclass(frozen=True, slots=True)
class GatewayView:
    """Everything one gateway proxy does: only the backends its routes use. Mutual TLS of others is passed on to those
    `passed`, whose name is asked for. `patches` are applied to all that."""

    proxy: str
    identity: SpiffeId
    gateway: str
    ports: tuple[GatewayPort, ...]
    certificates: tuple[Certificate, ...]
    targets: TargetsView
    signals: Signals = STANDARD
    roots: tuple[ClientRoots, ...] = ()
    credentials: tuple[Credential, ...] = ()
    passed: tuple[Backend, ...] = ()
    patches: Patches = NO_PATCHES
    datagrams: tuple[DatagramPort, ...] = ()


ProxyView = SidecarView | GatewayView
