"""How proxies are started and what they accept: Istio's ProxyConfig, and MeshConfig's `defaultConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.kinds.telemetry import CustomTag
from weft.schema.scalars import HostAndPort, Length, Percent, Range

HTTP10 = "ISTIO_META_HTTP10"
"""The one variable of a proxy's environment with a meaning here."""
Workers = Annotated[int, Range(0, 256)]
Environment = Mapping[Annotated[str, Length(1, 256)], Annotated[str, Length(0, 1024)]]


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
    """Settings of every proxy. `concurrency` and `proxyMetadata` (`environmentVariables` there) as in a ProxyConfig,
    whose words go over these."""

    tracing: ProxyTracing | None = None
    concurrency: Workers | None = None
    proxy_metadata: Environment = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfigSpec:
    """How the proxies of some workloads are: those that `selector` fits, else those of the namespace; in the root
    namespace without a selector, those of the whole mesh. What the narrowest document says goes over the wider ones
    and over `defaultConfig` of the MeshConfig, field by field.

    https://istio.io/latest/docs/reference/config/networking/proxy-config/

    * `concurrency`: with how many worker threads Envoy is started (1 without it; 0: one for each core). In force when
      the workload is started next: `weft problems` says which run with another number. See
      [performance](../performance.md#worker-threads).
    * `environmentVariables`: one has a meaning here, `ISTIO_META_HTTP10`. With `1` the proxies take HTTP/1.0, at once.
      See [clients](../clients.md#http10).
    """

    selector: WorkloadSelector | None = None
    concurrency: Workers | None = None
    environment_variables: Environment = field(default_factory=dict)
