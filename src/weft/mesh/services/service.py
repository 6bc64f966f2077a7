"""Service nodes: what can be called, where it is, and with which policy."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from weft.mesh.services.exports import ALL_NAMESPACES, Exports
from weft.mesh.services.member import Member
from weft.mesh.services.resilience import NO_RESILIENCE, Resilience
from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


class Protocol(enum.StrEnum):
    """What a port speaks, from appProtocol or the port's name. AUTO: HTTP when the caller's proxy knows it is HTTP,
    else TCP. WEBSOCKET is HTTP whose connections may be silent for long."""

    HTTP = "http"
    HTTP2 = "http2"
    WEBSOCKET = "websocket"
    TCP = "tcp"
    AUTO = "auto"


class Health(enum.StrEnum):
    """Health of an endpoint, as callers are told."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


class MutualTlsMode(enum.StrEnum):
    """What an inbound port accepts."""

    STRICT = "strict"
    PERMISSIVE = "permissive"
    DISABLE = "disable"


class Resolution(enum.StrEnum):
    """How the addresses behind a frontend are found: they are those of workloads, they are written (STATIC), DNS tells
    each caller's proxy (DNS all of them, DNS_ROUND_ROBIN one for each connection), or each call names its own (NONE,
    DYNAMIC_DNS)."""

    WORKLOADS = "workloads"
    STATIC = "static"
    DNS = "dns"
    DNS_ROUND_ROBIN = "dns-round-robin"
    NONE = "none"
    DYNAMIC_DNS = "dynamic-dns"


BY_DNS = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
BY_CALLER = (Resolution.NONE, Resolution.DYNAMIC_DNS)


class Location(enum.StrEnum):
    """Whether what is behind a frontend has proxies of the mesh."""

    MESH = "mesh"
    OUTSIDE = "outside"


class Turning(NamedTuple):
    """While a port turns from one protocol to another: what is `spoken` with its own backend, what its `requests`
    speak, and what its servers accept `beside` the protocol of its documents."""

    spoken: Protocol
    requests: Protocol
    beside: Protocol | None = None


@dataclass(frozen=True, slots=True)
class FrontendPort:
    """A port callers name. `target` is the workload's port behind it: a number, or the name of one. `tls`: it carries
    TLS that callers and service make themselves. `turning`: see `weft.mesh.services.turning`."""

    number: int
    name: str
    protocol: Protocol
    target: int | str
    tls: bool = False
    turning: Turning | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frontend:
    """A service as callers name it, without what is behind it, made by a Service, or by each host of a ServiceEntry.
    Compared by identity.

    `host` is its full name (``NAME.NAMESPACE.svc.cluster.local``, or what a ServiceEntry says, a leading ``*.``
    allowed), which no other frontend has; of several that are called alike, one has that as its full name, and all
    have it as `alias`. `key` is the object that declares it, `selector` the labels of its workloads. `members` are
    instances that its document describes itself, `addresses` further names of it (addresses, or ranges of them). A
    certificate of its servers has one of the `alt_names`, if there are any. `exports` are the namespaces whose callers
    are told of it (none: all). `distribution` says which endpoints callers prefer, in the words of a Service's
    trafficDistribution. `datagrams` are its ports for UDP, which only gateways call. With `unready` those are called,
    too, that are not ready, or not yet.
    """

    key: ObjectKey
    host: str
    ports: tuple[FrontendPort, ...]
    origin: Origin
    resolution: Resolution = Resolution.WORKLOADS
    location: Location = Location.MESH
    selector: Labels = ()
    members: tuple[Member, ...] = ()
    addresses: tuple[str, ...] = ()
    alt_names: tuple[str, ...] = ()
    exports: Exports = ALL_NAMESPACES
    distribution: str = ""
    datagrams: tuple[FrontendPort, ...] = ()
    alias: str = ""
    unready: bool = False

    @property
    def called(self) -> str:
        """The host by which callers and documents mean it."""
        return self.alias or self.host

    @property
    def is_service(self) -> bool:
        """Whether a Service declares it, which has short names, and no other ports than its own."""
        return self.key.kind == "Service"

    @property
    def name(self) -> str:
        """What its namespace calls it: a Service by its short name, anything else by its host."""
        return self.key.name if self.key.kind == "Service" else self.called

    @property
    def by_caller(self) -> bool:
        """Whether each call says itself where it goes: it is for many names or addresses, and nobody else knows."""
        return self.resolution in BY_CALLER and (self.host.startswith("*") or bool(self.addresses))

    @property
    def namespace(self) -> str:
        """The namespace it belongs to."""
        return self.key.namespace

    def port(self, number: int) -> FrontendPort | None:
        """The port with this number."""
        return next((port for port in self.ports if port.number == number), None)

    def port_numbers(self) -> str:
        """The ports as people list them."""
        return ", ".join(str(port.number) for port in self.ports)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance behind a service port. `mutual_tls` says whether its proxy accepts mutual TLS; without one it has no
    `identity`. `address` has a name in it where DNS is asked. `weight` says how many calls it takes beside others of
    the same locality. `health_port` is where it is checked, if not at its address."""

    workload: str
    address: SocketAddress
    health: Health
    identity: SpiffeId | None
    labels: Labels
    mutual_tls: bool = True
    locality: Locality = NOWHERE
    weight: int = 1
    health_port: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A frontend and the endpoints of each of its ports, in the order of its ports; `datagrams` are those of each port
    for UDP, by number. Compared by identity."""

    frontend: Frontend
    endpoints: tuple[tuple[Endpoint, ...], ...] = ()
    datagrams: tuple[tuple[int, tuple[Endpoint, ...]], ...] = ()

    @property
    def host(self) -> str:
        """The full name."""
        return self.frontend.host

    def ports(self) -> Iterator[tuple[FrontendPort, tuple[Endpoint, ...]]]:
        """Each port with its endpoints."""
        return zip(self.frontend.ports, self.endpoints or [()] * len(self.frontend.ports), strict=True)


@dataclass(frozen=True, slots=True)
class HashKey:
    """What consistent hashing looks at; exactly one of the fields. `cookie_ttl` in seconds, 0 for a session
    cookie; None makes no cookie."""

    header: str = ""
    cookie: str = ""
    cookie_path: str = ""
    cookie_ttl: float | None = None
    source_ip: bool = False
    query: str = ""


@dataclass(frozen=True, slots=True)
class Warmup:
    """New endpoints get their full share of requests after `seconds`: at first `least` per cent of it, and more of it
    the sooner the larger `aggression` is."""

    seconds: float
    least: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an endpoint is chosen. `table_size` is the ring's minimum size or the Maglev table's size (0: default);
    `hash` is what these two look at."""

    algorithm: Literal["round-robin", "least-request", "random", "ring-hash", "maglev"] = "least-request"
    table_size: int = 0
    hash: HashKey | None = None
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Circuit breaking; None where no document sets a bound: weft's own holds then (`weft.xds.limits`), where it
    has one. Times in seconds."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    max_concurrent_streams: int | None = None
    connect_timeout: float | None = None
    http_idle_timeout: float | None = None
    tcp_idle_timeout: float | None = None
    max_connection_duration: float | None = None
    keepalive_probes: int | None = None
    keepalive_time: float | None = None
    keepalive_interval: float | None = None


NO_LIMITS = ConnectionLimits()


@dataclass(frozen=True, slots=True)
class Ejection:
    """Outlier detection; None leaves Envoy's default, which for gateway errors is to eject nobody. Times in seconds."""

    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    consecutive_local_failures: int | None = None
    split_local: bool = False
    interval: float | None = None
    base_time: float | None = None
    max_percent: int | None = None
    min_health_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Nearness:
    """Which endpoints a caller prefers by where they run: `shares` in percent, by the places of callers and then of
    endpoints, or an order: by `labels` (with the value wanted; None: the caller's), or by subzone, zone and region,
    where the `failover` of a caller's region is the first of the others. `zones` (None: not so): callers divide their
    calls over the zones of their region, where at least so many endpoints are, such that as many as can stay in their
    own; other regions come after that."""

    shares: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str | None], ...] = ()
    zones: int | None = None


NEAR = Nearness()
"""Callers prefer their own subzone, zone and region."""


class HttpVersion(enum.StrEnum):
    """Of HTTP, with servers that have no proxy of the mesh: as their port says, HTTP/2 (over TLS if they agree), or
    that of the caller."""

    USUAL = "usual"
    HTTP2 = "http2"
    CALLERS = "callers"


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """How callers use a backend. `mutual_tls` None means automatic: where the endpoint accepts it. With mutual TLS the
    connection names `sni`, and of the endpoints' identities `accepted` are believed (none: all). `tls` is TLS with what
    has no proxy of the mesh; then nothing is automatic. `nearness` None: all endpoints are the same to them, wherever
    they run. `tunnel` (``host:port``) is where connections are led through the endpoints, which are HTTP proxies (asked
    with POST in place of CONNECT, if `by_post`), and `proxy_protocol` how they begin, if so; `version` is what servers
    without a proxy are spoken to in."""

    balancing: Balancing = Balancing()
    limits: ConnectionLimits = ConnectionLimits()
    ejection: Ejection | None = None
    mutual_tls: bool | None = None
    nearness: Nearness | None = None
    sni: str = ""
    accepted: tuple[str, ...] = ()
    tls: Tls | None = None
    retry_budget: RetryBudget | None = None
    version: HttpVersion = HttpVersion.USUAL
    tunnel: str = ""
    by_post: bool = False
    proxy_protocol: Literal["", "V1", "V2"] = ""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries a proxy may have under way: so many per cent of its requests, and `least` in any case. It takes
    the place of a bound on their number."""

    percent: float
    least: int


class BackendKey(NamedTuple):
    """Which backend: a port of a service, or of one of its subsets. `opaque`: connections are carried there as they
    are, though the port may speak HTTP."""

    host: str
    port: int
    subset: str = ""
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Nothing protects the connection."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Both sides prove a SPIFFE identity; the server's must be one of `identities` (sorted; none: nobody can). `sni` is
    the server name that the connection asks for."""

    identities: tuple[SpiffeId, ...]
    sni: str = ""


@dataclass(frozen=True, slots=True)
class PerEndpoint:
    """Mutual TLS to endpoints that accept it, plaintext to the others; `bare`: some of these have no proxy at all, so
    they speak no other version of HTTP than the port says."""

    mutual_tls: MutualTls
    bare: bool = False


class NameKind(enum.StrEnum):
    """What kind of name a certificate has."""

    DNS = "dns"
    URI = "uri"
    ADDRESS = "address"
    EMAIL = "email"


class CertificateName(NamedTuple):
    """A name that a server's certificate may have."""

    kind: NameKind
    value: str


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of the usual kind, with a server that has no identity of the mesh.

    `sni` is the server name asked for: empty, the host of each request, and for connections `host`. The certificate
    must have one of `names`; without any, the name asked for where `sni` is empty, and any name otherwise.
    `authorities` (PEM) vouch for it: empty, those of `credential`, and without one those that the proxy's machine
    trusts. `crl` are certificates taken back (PEM).

    `credential` names a Secret in the namespace of each proxy; `proves`: the proxy shows its certificate. `insecure`:
    nothing is checked. `unusable`: nothing can be trusted, so every connection fails. `lowest` is the lowest version.
    `shown` is the certificate (``namespace/name``) that a gateway shows to all servers.
    """

    sni: str = ""
    host: str = ""
    names: tuple[CertificateName, ...] = ()
    authorities: bytes = b""
    crl: bytes = b""
    credential: str = ""
    proves: bool = False
    insecure: bool = False
    unusable: bool = False
    lowest: Literal["1.2", "1.3"] = "1.2"
    shown: str = ""

    @property
    def by_system(self) -> bool:
        """Whether the authorities are those that the proxy's machine trusts."""
        return not (self.authorities or self.credential or self.insecure or self.unusable)


Transport = Plaintext | MutualTls | PerEndpoint | Tls
"""How the connection to a backend is protected."""


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """What traffic can be sent to: one port of a service, or of one of its subsets. One Envoy cluster.

    `dns`: the proxy looks up its endpoints' names, so they are part of it and it has no EndpointSet; `single`: it takes
    one address for each connection. `by_caller`: each call says where to, and there are no endpoints at all. `object`
    declares the service, `origins` are the places in documents that shaped it. `requests` is what requests speak that
    come, while it turns, to a backend of connections. `fallbacks` is how
    connections to each of its `resilience.fallbacks` are protected. Compared by identity.
    """

    key: BackendKey
    protocol: Protocol
    policy: TrafficPolicy
    transport: Transport
    object: ObjectKey
    origins: tuple[Origin, ...]
    dns: tuple[Endpoint, ...] = ()
    single: bool = False
    by_caller: bool = False
    resilience: Resilience = NO_RESILIENCE
    fallbacks: tuple[Transport, ...] = ()
    requests: Protocol | None = None

    @property
    def outside(self) -> bool:
        """Whether it has no EndpointSet: DNS or the caller says where it is."""
        return bool(self.dns) or self.by_caller

    def dns_names(self) -> tuple[str, ...]:
        """The names that DNS is asked for."""
        return tuple(dict.fromkeys(endpoint.address.host for endpoint in self.dns))


@dataclass(frozen=True, slots=True)
class EndpointGroup:
    """Endpoints of one locality that a caller treats alike. Those of `priority` 0 are called while enough of them are
    healthy, then those of 1, and so on; `weight` is the locality's share within its priority (0: none is set)."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class EndpointSet:
    """The endpoints of the Backend of the same key. Changes far more often than it. `groups` say which of them a caller
    prefers; without, all are the same to it. `fallbacks` are the endpoints of each of the Backend's, `below` from how
    many percent of healthy ones on they are called (0: when there is none). Compared by identity."""

    backend: BackendKey
    endpoints: tuple[Endpoint, ...]
    groups: tuple[EndpointGroup, ...] = ()
    fallbacks: tuple[tuple[Endpoint, ...], ...] = ()
    below: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A backend and where it is; `endpoints` None: DNS or the caller says, or those of its plain key if its own is
    opaque. Compared by identity."""

    backend: Backend
    endpoints: EndpointSet | None
