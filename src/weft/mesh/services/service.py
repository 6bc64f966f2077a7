"""Service nodes: what can be called, where it is, and with which policy."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from weft.mesh.routes.rules import HashKey
from weft.model.identity import SpiffeId
from weft.model.labels import Labels
from weft.model.origin import Origin
from weft.model.workload import SocketAddress


class Protocol(enum.StrEnum):
    """What a port speaks, from appProtocol or the port's name. AUTO: HTTP when the caller's proxy knows it is HTTP,
    else TCP. WEBSOCKET is HTTP with upgrades allowed."""

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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance behind a service port. `mutual_tls` says whether its proxy accepts mutual TLS."""

    workload: str
    address: SocketAddress
    health: Health
    identity: SpiffeId
    labels: Labels
    mutual_tls: bool = True


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service."""

    number: int
    name: str
    protocol: Protocol
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `host` is its full name, ``NAME.NAMESPACE.svc.cluster.local``."""

    name: str
    namespace: str
    host: str
    ports: tuple[ServicePort, ...]
    origin: Origin
    external_name: str = ""

    def port(self, number: int) -> ServicePort | None:
        """The port with this number."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an endpoint is chosen. `table_size` is the ring's minimum size or the Maglev table's size (0: default)."""

    algorithm: Literal["round-robin", "least-request", "random", "ring-hash", "maglev"] = "least-request"
    table_size: int = 0


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
    hash: HashKey | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """What traffic can be sent to: one port of a service, or of one of its subsets. One Envoy cluster.

    `name` is ``outbound|PORT|SUBSET|HOST``. `identities` are those its endpoints may prove, sorted. `tls` is ``all``,
    ``none`` or ``mixed`` (per endpoint). `external_name` set: resolved by DNS, in plaintext, no EndpointSet.
    `origins` are the documents that shaped it.
    """

    name: str
    host: str
    port: int
    subset: str
    protocol: Protocol
    policy: TrafficPolicy
    identities: tuple[SpiffeId, ...]
    tls: Literal["all", "none", "mixed"]
    origins: tuple[Origin, ...]
    external_name: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The endpoints of the Backend of the same name. Changes far more often than it."""

    backend: str
    endpoints: tuple[Endpoint, ...]


def backend_name(host: str, port: int, subset: str = "") -> str:
    """The name of a Backend and of its cluster (Istio's form)."""
    return f"outbound|{port}|{subset}|{host}"
