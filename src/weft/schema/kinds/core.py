"""Kubernetes core/v1: Namespace, Service, ServiceAccount, Secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.scalars import (
    Base64,
    ClusterIp,
    LabelKey,
    LabelValue,
    Length,
    Name,
    Port,
    PortOrName,
    PreciseHostname,
    SecretKey,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSpec:
    """A Namespace has nothing but its labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountSpec:
    """A ServiceAccount has nothing but its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePortSpec:
    """One port of a Service; without `target_port` it is `port`. A name that no port of a workload has means its only
    port, if that is unnamed and no other target means it. One that is not TCP is left out, with a warning."""

    port: Port
    name: Name = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    target_port: PortOrName | None = None
    app_protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/

    What a cluster alone does (open ports of nodes, give addresses, choose IP families) has no effect, with a warning.
    """

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    ports: tuple[ServicePortSpec, ...] = ()
    selector: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    cluster_ip: ClusterIp = field(default="", metadata={"json": "clusterIP"})
    external_name: PreciseHostname = ""
    session_affinity: Literal["None"] = "None"
    internal_traffic_policy: Literal["Cluster"] = "Cluster"
    ip_families: Annotated[tuple[Literal["IPv4", "IPv6"], ...], Length(0, 2)] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] = "SingleStack"
    publish_not_ready_addresses: bool = False
    traffic_distribution: Literal["", "PreferClose", "PreferSameZone"] = ""
    cluster_ips: Annotated[tuple[ClusterIp, ...], Length(0, 2)] = field(default=(), metadata={"json": "clusterIPs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """A Secret: `data` decoded from base64, with `stringData` merged over it by the decoder."""

    type: str = "Opaque"
    data: Mapping[SecretKey, Base64] = field(default_factory=dict, repr=False)
