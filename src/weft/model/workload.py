"""A Workload: one registered instance of an application, or one gateway, with its proxy."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from weft.model.identity import proxy_name
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality, locality_of
from weft.model.network_namespace import NetworkNamespace

PROXY_USERS_FILE = "proxy-users"
"""Relative to the workload's directory, in which its Envoy is started: who may use its outbound proxy, if not all."""
ONE_WORKER = 1
"""Worker threads of an Envoy where no document says otherwise: the fastest for a sidecar."""


class WorkloadState(enum.StrEnum):
    """Where an instance is in its life. Only HEALTHY ones receive new requests."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, order=True)
class SocketAddress:
    """An IP address and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WorkloadPort:
    """One port the application serves.

    `port` is its number in the mesh and `name` its name, if it has one (a Service's targetPort is either),
    `application` where the application really listens, `inbound` where the proxy accepts for it.
    """

    port: int
    application: SocketAddress
    inbound: SocketAddress
    name: str = ""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A loopback port of the application's host that leads to a service: ``--upstream SERVICE:PORT=LOCALPORT``."""

    service: str
    port: int
    listen: SocketAddress


@dataclass(frozen=True, slots=True)
class GatewayBinding:
    """Which Gateway a stand-alone proxy serves and where its listeners bind.

    A listener port named in `ports` binds there; any other binds `address` at its own number plus `offset` when it is
    below 1024 (an ordinary user cannot bind those).
    """

    gateway: str
    address: str
    offset: int = 0
    ports: tuple[tuple[int, SocketAddress], ...] = ()

    def bind(self, port: int) -> SocketAddress:
        """The address at which the Gateway's listener on `port` accepts."""
        for number, where in self.ports:
            if number == port:
                return where
        return SocketAddress(self.address, port + self.offset if port < 1024 else port)


@dataclass(frozen=True, slots=True)
class NodeBinding:
    """What makes a registration that of a node, whose one Envoy carries the workloads `carries` (proxy names): those of
    them whose own registrations name it, for neither side can say so alone. `namespaces` are the network namespaces
    that each may be in (None: that of the host); who is not in it may be in that of the host only."""

    carries: tuple[str, ...] = ()
    namespaces: tuple[tuple[str, NetworkNamespace | None], ...] = ()

    def taken(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        """Those of `workloads` that it may carry, where they say to be."""
        named, allowed = frozenset(self.carries), frozenset(self.namespaces)
        placed = frozenset([proxy for proxy, _ in allowed])
        return tuple([
            each
            for each in workloads
            if each.proxy in named
            and (
                (each.proxy, each.network_namespace) in allowed
                if each.proxy in placed
                else each.network_namespace is None
            )
        ])  # fmt: skip


class Scope(enum.StrEnum):
    """When a proxy gets the clusters of services, where its workload does not say which it uses: of each when it is
    first called, or of all at once."""

    DEMAND = "demand"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Workload:
    """What an agent registered. With `uses` its proxy knows these hosts only; without, it knows all, and `scope` says
    when it gets their clusters. `unused_proxy`: its application should have called others by now, and has not.
    `metrics` is where Prometheus scrapes it, `envoy` the version of its proxy (empty: not told, that of this weft).
    `proxy_secret`: its outbound proxy serves only who knows a secret that the agent has given to the application.
    `locality` is what `weft run` was told of where it runs; `place` also heeds its labels. `group` is the WorkloadGroup
    that it was started from, `weight` how many calls it takes beside others of 1. `workers` are the worker threads that
    its Envoy was started with (0: one for each core). `dns`: its agent answers questions of its applications for
    names. Connections of these are led to `capture` (none: they are not); with `capture_inside` to a listener that its
    agent has given the proxy, and which passes them on inside. Those of callers are led to `inbound_capture` (none:
    each port has an address of its own); `transparent`: they see their callers' addresses. `carrier` is the
    proxy name of the node whose Envoy carries it (empty: it has one of its own), and `node` says that it is such a
    node. `network_namespace` is where its application lives on the host of its carrier (None: in the host's own).
    `pod` is the uid of the Kubernetes Pod that it is: no agent has registered it, the API server has told of it; and
    `owner` the name of what made that, such as a Deployment, by which metrics call it."""

    name: str
    namespace: str
    service_account: str
    labels: Labels = ()
    ports: tuple[WorkloadPort, ...] = ()
    outbound: SocketAddress | None = None
    upstreams: tuple[Upstream, ...] = ()
    uses: tuple[str, ...] = ()
    scope: Scope = Scope.DEMAND
    gateway: GatewayBinding | None = None
    state: WorkloadState = WorkloadState.STARTING
    unused_proxy: bool = False
    metrics: SocketAddress | None = None
    envoy: str = ""
    proxy_secret: bool = False
    locality: Locality = NOWHERE
    group: str = ""
    weight: int = 1
    workers: int = ONE_WORKER
    dns: bool = False
    capture: tuple[SocketAddress, ...] = ()
    inbound_capture: tuple[SocketAddress, ...] = ()
    transparent: bool = False
    capture_inside: bool = False
    carrier: str = ""
    node: NodeBinding | None = None
    network_namespace: NetworkNamespace | None = None
    pod: str = ""
    owner: str = ""

    @property
    def captures(self) -> bool:
        """Whether connections of its applications that were made to others are led to its proxy."""
        return bool(self.capture) or self.capture_inside

    def port(self, target: int | str) -> WorkloadPort | None:
        """The port that a Service's targetPort means here: its number or its name."""
        return next((port for port in self.ports if target in (port.port, port.name)), None)

    @property
    def place(self) -> Locality:
        """Where it runs."""
        return locality_of(self.locality, self.labels)

    @property
    def speaker(self) -> str:
        """The name of the proxy that has the stream by which the control plane tells its proxy what to do."""
        return self.carrier or self.proxy

    @property
    def proxy(self) -> str:
        """The proxy's name: Envoy's node id."""
        return proxy_name(self.name, self.namespace)
