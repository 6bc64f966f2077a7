"""Kubernetes core/v1: Namespace, Service, ServiceAccount, Secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from weft.schema.scalars import Base64, Hostname, Name, Port, PortOrName


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSpec:
    """A Namespace has nothing but its labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountSpec:
    """A ServiceAccount has nothing but its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePortSpec:
    """One port of a Service; without `target_port` it is `port`."""

    port: Port
    name: Name = ""
    protocol: Literal["TCP"] = "TCP"
    target_port: PortOrName | None = None
    app_protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/"""

    type: Literal["ClusterIP", "ExternalName"] = "ClusterIP"
    ports: tuple[ServicePortSpec, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    cluster_ip: Literal["", "None"] = field(default="", metadata={"json": "clusterIP"})
    external_name: Hostname = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """A Secret: `data` decoded from base64, with `stringData` merged over it by the decoder."""

    type: str = "Opaque"
    data: Mapping[str, Base64] = field(default_factory=dict)
