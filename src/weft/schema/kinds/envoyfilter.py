"""Istio networking: EnvoyFilter, changes to what proxies are given, in Envoy's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.scalars import AnyValue, LabelKey, LabelValue, Length, Port, Range

Text = Annotated[str, Length(1, 256)]
Condition = Annotated[str, Length(0, 256)]
"""A condition on a name: empty is none."""
ApplyTo = Literal[
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
]
Operation = Literal["MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFilterMatch:
    """A filter of requests, by its name."""

    name: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterMatch:
    """A filter of connections, by its name."""

    name: Text
    sub_filter: SubFilterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChainMatch:
    """Conditions on a filter chain. `destinationPort` is the port of the application, each of which has a listener."""

    name: Condition | None = None
    sni: Condition | None = None
    destination_port: Port | None = None
    transport_protocol: Literal["raw_buffer", "tls"] | None = None
    filter: FilterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerMatch:
    """Conditions on a listener: of an application's port, of a Gateway's, or of an upstream's. The way out of a sidecar
    is one listener for all ports, which no `portNumber` means. Of Istio's names `virtualInbound` (or port 15006) means
    all ports of applications, `virtualOutbound` the way out, and `0.0.0.0_8080` the port 8080."""

    port_number: Port | None = None
    name: Condition | None = None
    filter_chain: FilterChainMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """Conditions on a route."""

    name: Condition | None = None
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHostMatch:
    """Conditions on a virtual host: its name is ``HOST:PORT`` of the service, or ``inbound|http|PORT`` before an
    application."""

    name: Condition | None = None
    domain_name: Condition | None = None
    route: RouteMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfigurationMatch:
    """Conditions on a route configuration. Of Istio's names ``http.80`` means a Gateway's port, ``80`` a service's, and
    ``inbound|8080||`` an application's."""

    port_number: Port | None = None
    name: Condition | None = None
    gateway: Condition | None = None
    vhost: VirtualHostMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMatch:
    """Conditions on a cluster."""

    port_number: Port | None = None
    service: Condition | None = None
    subset: Condition | None = None
    name: Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMatch:
    """Which of the things that a patch is for are meant; none: all of them."""

    context: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"] = "ANY"
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchValue:
    """What is done. `value` is a message of Envoy's API in JSON's form."""

    operation: Operation
    value: AnyValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPatch:
    """One change."""

    apply_to: ApplyTo
    match: ConfigMatch = ConfigMatch()
    patch: PatchValue


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFilterSelector:
    """Workloads by their labels."""

    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFilterSpec:
    """https://istio.io/latest/docs/reference/config/networking/envoy-filter/

    The way out where no other kind has a word. A document is tried on a real Envoy, with what proxies have now, before
    any proxy is given it: until then, and if Envoy refuses it, the last text of it that Envoy took stays in force. What
    it changes is not what this mesh promises: it may take protection away.
    """

    workload_selector: EnvoyFilterSelector | None = None
    config_patches: Annotated[tuple[ConfigPatch, ...], Length(1, 64)]
    priority: Annotated[int, Range(-(2**31), 2**31 - 1)] = 0
