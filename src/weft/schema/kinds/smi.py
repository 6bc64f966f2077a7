"""Service Mesh Interface: TrafficTarget, and the routes that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from weft.schema.scalars import HeaderName, Length, Name, OrPairs, Port, Regex, ServiceHost, Subdomain, Weight

SMI_ACCESS: Final = "access.smi-spec.io"
SMI_SPECS: Final = "specs.smi-spec.io"
SMI_SPLIT: Final = "split.smi-spec.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiAccount:
    """A service account, of the document's namespace if it says none."""

    kind: Literal["ServiceAccount"]
    name: Name
    namespace: Name = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiRule:
    """An HTTPRouteGroup, of which `matches` name parts (none: all of them), or a TCPRoute. Of the document's
    namespace."""

    kind: Literal["HTTPRouteGroup", "TCPRoute"]
    name: Subdomain
    matches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTargetSpec:
    """https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-access/v1alpha3/traffic-access.md

    The `sources` may call the workloads of the destination's service account, by the `rules` if there are any. What no
    TrafficTarget and no other policy allows is refused there. It is for workloads of its own namespace.
    """

    destination: SmiAccount
    sources: Annotated[tuple[SmiAccount, ...], Length(1, 512)]
    rules: Annotated[tuple[SmiRule, ...], Length(0, 512)] = field(default=(), metadata={"aliases": ("specs",)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiMatch:
    """Requests: `pathRegex` is met by the whole path without query, each of `headers` by the whole value (both in RE2
    syntax), `methods` exactly, or `*` for all."""

    name: Annotated[str, Length(1, 253)]
    path_regex: Regex = ""
    methods: tuple[Annotated[str, Length(1, 64)], ...] = ()
    headers: Annotated[Mapping[HeaderName, Regex], OrPairs()] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRouteGroupSpec:
    """https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-specs/v1alpha4/traffic-specs.md

    Requests under names, for TrafficTargets and TrafficSplits. By itself it does nothing.
    """

    matches: Annotated[tuple[SmiMatch, ...], Length(1, 512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiPorts:
    """Ports of workloads."""

    ports: tuple[Port, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiTcpRouteSpec:
    """https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-specs/v1alpha4/traffic-specs.md

    Connections to ports, or to all of them, for TrafficTargets. By itself it does nothing.
    """

    matches: SmiPorts = SmiPorts()


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiGroup:
    """An HTTPRouteGroup of the document's namespace."""

    kind: Literal["HTTPRouteGroup"]
    name: Subdomain
    api_group: Literal["", "specs.smi-spec.io"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiBackend:
    """A Service of the document's namespace, with its share: a whole number, or thousandths such as ``900m``, as the
    first version had them."""

    service: Name
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplitSpec:
    """https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-split/v1alpha4/traffic-split.md

    Requests and connections to the Service `service` are divided over `backends`, whose ports are those of the same
    number, or their only one. With `matches` only the requests of these HTTPRouteGroups are; the rest goes to the
    Service itself.
    """

    service: ServiceHost
    backends: Annotated[tuple[SmiBackend, ...], Length(1, 512)]
    matches: Annotated[tuple[SmiGroup, ...], Length(0, 64)] = ()
