"""Service nodes: what can be called, where it is, and with which policy."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from weft.model.document import ObjectKey
from weft.model.identity import SpiffeId
from weft.model.labels import Labels
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
    """How the addresses behind a frontend are found: registered workloads, or DNS at each caller."""

    WORKLOADS = "workloads"
    DNS = "dns"


class Location(enum.StrEnum):
    """Whether what is behind a frontend has proxies of the mesh."""

    MESH = "mesh"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class FrontendPort:
    """A port callers name. `target` is the workload's port behind it: a number, or the name of one."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True, eq=False)
class Frontend:
    """A service as callers name it, without what is behind it. Compared by identity.

    `host` is its full name (``NAME.NAMESPACE.svc.cluster.local``), `key` the object that declares it, `selector` the
    labels of its workloads, `address` the DNS name where `resolution` is DNS.
    """

    key: ObjectKey
    host: str
    ports: tuple[FrontendPort, ...]
    origin: Origin
    resolution: Resolution = Resolution.WORKLOADS
    location: Location = Location.MESH
    selector: Labels = ()
    address: str = ""

    @property
    def name(self) -> str:
        """The short name, which callers of its own namespace may use."""
        return self.key.name

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
    """One instance behind a service port. `mutual_tls` says whether its proxy accepts mutual TLS."""

    workload: str
    address: SocketAddress
    health: Health
    identity: SpiffeId
    labels: Labels
    mutual_tls: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A frontend and the endpoints of each of its ports, in the order of its ports. Compared by identity."""

    frontend: Frontend
    endpoints: tuple[tuple[Endpoint, ...], ...] = ()

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
class Balancing:
    """How an endpoint is chosen. `table_size` is the ring's minimum size or the Maglev table's size (0: default);
    `hash` is what these two look at."""

    algorithm: Literal["round-robin", "least-request", "random", "ring-hash", "maglev"] = "least-request"
    table_size: int = 0
    hash: HashKey | None = None


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
class TrafficPolicy:
    """How callers use a backend. `mutual_tls` None means automatic: where the endpoint accepts it."""

    balancing: Balancing = Balancing()
    limits: ConnectionLimits = ConnectionLimits()
    ejection: Ejection | None = None
    mutual_tls: bool | None = None


class BackendKey(NamedTuple):
    """Which backend: a port of a service, or of one of its subsets."""

    host: str
    port: int
    subset: str = ""


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Nothing protects the connection."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Both sides prove a SPIFFE identity; the server's must be one of `identities` (sorted; none: nobody can)."""

    identities: tuple[SpiffeId, ...]


@dataclass(frozen=True, slots=True)
class PerEndpoint:
    """Mutual TLS to endpoints that accept it, plaintext to the others."""

    mutual_tls: MutualTls


Transport = Plaintext | MutualTls | PerEndpoint
"""How the connection to a backend is protected."""


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """What traffic can be sent to: one port of a service, or of one of its subsets. One Envoy cluster.

    `address` set: resolved by DNS, and it has no EndpointSet. `object` declares the service, `origins` are the places
    in documents that shaped it. Compared by identity.
    """

    key: BackendKey
    protocol: Protocol
    policy: TrafficPolicy
    transport: Transport
    object: ObjectKey
    origins: tuple[Origin, ...]
    address: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EndpointSet:
    """The endpoints of the Backend of the same key. Changes far more often than it. Compared by identity."""

    backend: BackendKey
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A backend and where it is; `endpoints` None: DNS says. Compared by identity."""

    backend: Backend
    endpoints: EndpointSet | None
