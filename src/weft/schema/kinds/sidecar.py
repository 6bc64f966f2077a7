"""Istio networking: Sidecar, which says what the proxies of some workloads are told, and how they serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.kinds.destinationrule import ConnectionPool
from weft.schema.kinds.meshconfig import OutboundTrafficPolicy
from weft.schema.scalars import (
    LabelKey,
    LabelValue,
    Length,
    LoopbackEndpoint,
    NamespacedHost,
    Port,
    ServiceProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarSelector:
    """Workloads of the document's namespace that carry all of these labels; without labels all of them."""

    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressPort:
    """A port of the workloads, and what it speaks."""

    number: Port
    protocol: ServiceProtocol = "TCP"
    name: Annotated[str, Length(0, 63)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPort:
    """A port of services."""

    number: Port
    protocol: ServiceProtocol = "TCP"
    name: Annotated[str, Length(0, 63)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressListener:
    """A port of the workloads that is served, by the application at `default_endpoint` of its own host (without: where
    the workload says). `connection_pool` bounds what comes to it, in place of the Sidecar's own."""

    port: IngressPort
    capture_mode: Literal["DEFAULT", "NONE"] = "DEFAULT"
    default_endpoint: LoopbackEndpoint = ""
    connection_pool: ConnectionPool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressListener:
    """Hosts that may be called, each as NAMESPACE/HOST; with a `port` at that port of theirs only."""

    hosts: Annotated[tuple[NamespacedHost, ...], Length(1, 1000)]
    port: EgressPort | None = None
    capture_mode: Literal["DEFAULT", "NONE"] = "DEFAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarSpec:
    """https://istio.io/latest/docs/reference/config/networking/sidecar/

    Of several for a workload that with a selector is in force, then its namespace's, then the root namespace's; what
    it does not say is as the wider one says it. `ingress` are the only ports that are served, if there are any.
    """

    workload_selector: SidecarSelector | None = None
    ingress: Annotated[tuple[IngressListener, ...], Length(0, 256)] = ()
    egress: Annotated[tuple[EgressListener, ...], Length(0, 256)] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
