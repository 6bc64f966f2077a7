"""Istio networking: WorkloadGroup, what the instances of an application on hosts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from weft.schema.scalars import (
    HeaderName,
    HeaderValue,
    LabelKey,
    LabelValue,
    Length,
    LocalityText,
    Name,
    OneOf,
    Port,
    Range,
)

_Count = Annotated[int, Range(0, 1000)]
_Seconds = Annotated[int, Range(0, 3600)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetadata:
    """`labels` are given to each workload, over those of the template. Of `annotations` those of Prometheus
    (`prometheus.io/scrape`, `port`, `path`) say where the application's own metrics are."""

    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTemplate:
    """What each workload has. `ports` gives each port its name, which Services may name as `targetPort`."""

    ports: Mapping[Name, Port] = field(default_factory=dict)
    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    locality: LocalityText = ""
    weight: Annotated[int, Range(0, 128)] = 0
    service_account: Name = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHeader:
    """A header of the request that asks for health. Several of one name are sent as one, with commas."""

    name: HeaderName
    value: HeaderValue = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """Healthy is an answer from 200 to 399. `host` is the workload's own: `localhost` or a loopback address; another
    name for the application goes into a header `Host`. With `scheme: HTTPS` the certificate is not checked."""

    port: Port
    path: HeaderValue = "/"
    host: str = ""
    scheme: Literal["", "HTTP", "HTTPS"] = ""
    http_headers: Annotated[tuple[ProbeHeader, ...], Length(0, 32)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe:
    """Healthy is who accepts a connection."""

    port: Port
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessProbe:
    """How the agent asks for the application's health. 0 is the default: a timeout of 1 s, every 10 s, one success,
    three failures. Until the first success it asks more often, so that a start is not slower than the application."""

    one_of: ClassVar = OneOf(("http_get", "tcp_socket"))
    http_get: HttpProbe | None = None
    tcp_socket: TcpProbe | None = None
    initial_delay_seconds: _Seconds = 0
    timeout_seconds: _Seconds = 0
    period_seconds: _Seconds = 0
    success_threshold: _Count = 0
    failure_threshold: _Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadGroupSpec:
    """https://istio.io/latest/docs/reference/config/networking/workload-group/

    `weft run --group NAME` takes from it what the command line does not say: labels, ports, service account, locality,
    weight, and how health is asked for. A workload that runs keeps what it was started with.
    """

    metadata: GroupMetadata = GroupMetadata()
    template: GroupTemplate
    probe: ReadinessProbe | None = None
