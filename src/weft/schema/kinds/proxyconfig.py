"""What MeshConfig's `defaultConfig` says of proxies: the older way to ask for traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.kinds.telemetry import CustomTag
from weft.schema.scalars import HostAndPort, Length, Percent, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipkinAddress:
    """``HOST:PORT`` of what reads Zipkin's form."""

    address: HostAndPort


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTracing:
    """Traces for Zipkin, where no Telemetry says anything of traces and there is no default provider of them, unless
    `enableTracing` is false; `sampling` (1 without it) and `customTags` also where these do not say."""

    zipkin: ZipkinAddress | None = None
    sampling: Percent | None = None
    custom_tags: Mapping[Annotated[str, Length(1, 256)], CustomTag] = field(
        default_factory=dict, metadata={"aliases": ("custom_tags",)}
    )
    max_path_tag_length: Annotated[int, Range(1, 65536)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """Settings of every proxy."""

    tracing: ProxyTracing | None = None
