"""Mesh-wide settings: weft's MeshConfig, and the ConfigMap in which Istio's `MeshConfig` comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.kinds.locality import LocalityLbSetting, ZoneAwareLbSetting
from weft.schema.kinds.providers import DefaultProviders, ExtensionProvider
from weft.schema.kinds.proxyconfig import ProxyConfig
from weft.schema.kinds.virtualservice import HttpRetry
from weft.schema.scalars import (
    AddressRange,
    Duration,
    Export,
    Length,
    LogPath,
    Name,
    Percent,
    PositiveDuration,
    TrustDomain,
)

WEFT_GROUP = "weft.dev"
MESH_CONFIG_NAME = "default"
"""What a MeshConfig is called."""
_WEFTS_OWN = DefaultProviders()
_NOTHING = ProxyConfig()
CONFIG_MAP_NAME = "istio"
"""The ConfigMap whose `mesh` Istio reads."""
PARAMETERS = ("deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget")
"""Keys of a ConfigMap to which the `parametersRef` of a Gateway or GatewayClass leads, as Istio has them."""
ParametersText = Annotated[str, Length(0, 32 * 1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundTrafficPolicy:
    """What sidecars do with hosts that no document names: pass the request on (ALLOW_ANY), or answer 502."""

    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpMetrics:
    """Metrics pushed over OTLP/HTTP (protobuf): the receiver's URL, to which `/v1/metrics` is added if it has no path,
    and how often. In plaintext to loopback only."""

    endpoint: Annotated[str, Length(1, 1024)]
    interval: PositiveDuration = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddresses:
    """The ranges from which services have virtual addresses, one of each: for IPv4 from /8 to /28, for IPv6 at least as
    many addresses."""

    ipv4: AddressRange = "240.240.0.0/16"
    ipv6: AddressRange = "fd77:6566:7400::/64"


_USUAL_ADDRESSES = ServiceAddresses()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfigSpec:
    """Mesh-wide settings, as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/

    There is one: called `default`, in the root namespace. A change is in force at once, without a restart. What it does
    not say is as `weft serve` was started.

    * `outboundTrafficPolicy`: hosts that no document names.
    * `defaultAccess`: whether workloads may be called where no AuthorizationPolicy says so. See
      [authorization](../authorization.md#nobody-by-default).
    * `defaultHttpRetryPolicy`: retries of routes that name none of their own. `attempts: 2` alone is what Istio does;
      without the field only requests that cannot have been processed are tried again.
    * `connectTimeout`: for connections to services whose DestinationRule sets none.
    * `gatewayMaxRequestDuration`: how long a request at a gateway may last as a whole, from its first byte to the last
      of its answer: an hour without the field, `0s` for ever. A route with a longer timeout has as long as that; one
      whose timeout is `0s`, or that has none and leads to a port of WebSocket, has no bound. A change drains the
      connections of gateways.
    * `rootNamespace`: where mesh-wide PeerAuthentication and DestinationRule stand. The MeshConfig itself stays where
      the control plane was told to look (`istio-system`).
    * `accessLogFile`, `accessLogFormat`, `accessLogEncoding`: access logs where no Telemetry says anything of them and
      there is no default provider; format and encoding also of the provider `envoy`, which is always there. The format
      of JSON is a JSON object. `accessLogSampling` (a percentage) thins out all access logs whose Telemetry does not
      say how much: what failed is always written.
    * `extensionProviders`, `defaultProviders`: where signals go, and by default. See [access logs](../access-logs.md).
    * `defaultConfig.tracing`: traces for Zipkin, where no Telemetry says anything of traces and there is no default
      provider of them; `enableTracing: false` turns these off.
    * `enablePrometheusMerge`: whether an application's own metrics are served together with its proxy's.
    * `otlpMetrics`: agents also send what they serve to Prometheus over OTLP. See [Prometheus](../prometheus.md#otlp).
    * `localityLbSetting`, or else `zoneAwareLbSetting`: which instances callers prefer by where they run, where no
      DestinationRule and no Service says so. See [resilience](../resilience.md#where-instances-run).
    * `jwksAllowedNetworks`: networks (`10.20.0.0/24`) beside public addresses from which the control plane fetches the
      keys of a RequestAuthentication. Link-local addresses are never asked. See [tokens](../jwt.md#keys).
    * `serviceAddresses`: the ranges of virtual addresses. Each service without an address has a pair of them. Another
      range moves every service at once, each to the same place of the new one. See [names](../names.md).
    * `defaultServiceExportTo`, `defaultVirtualServiceExportTo`, `defaultDestinationRuleExportTo`: which namespaces'
      callers are told of those that do not say it with `exportTo` (`*`, `.`, names). See [outside](../outside.md).
    * `trustDomain`: must be the one the control plane runs with, on which all identities hang.
    """

    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    default_access: Literal["allow", "deny"] = "allow"
    default_http_retry_policy: HttpRetry | None = None
    connect_timeout: PositiveDuration | None = None
    gateway_max_request_duration: Duration | None = None
    root_namespace: Name = ""
    trust_domain: TrustDomain = ""
    enable_auto_mtls: Literal[True] = True
    access_log_file: LogPath = ""
    access_log_format: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    access_log_sampling: Percent | None = None
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: DefaultProviders = _WEFTS_OWN
    enable_tracing: bool = True
    enable_prometheus_merge: bool = True
    default_config: ProxyConfig = _NOTHING
    otlp_metrics: OtlpMetrics | None = None
    locality_lb_setting: LocalityLbSetting | None = None
    zone_aware_lb_setting: ZoneAwareLbSetting | None = None
    jwks_allowed_networks: Annotated[tuple[str, ...], Length(0, 64)] = ()
    default_service_export_to: tuple[Export, ...] = ()
    default_virtual_service_export_to: tuple[Export, ...] = ()
    default_destination_rule_export_to: tuple[Export, ...] = ()
    service_addresses: ServiceAddresses = _USUAL_ADDRESSES


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapData:
    """YAML text with the fields of a MeshConfig's `spec`: `mesh` in the ConfigMap `istio`, or `meshConfig` in any. The
    certificates of authorities that other documents refer to, `ca.crt`. And what is merged over the objects that a
    Gateway becomes [in a cluster](../kubernetes.md#parameters), YAML for each of five."""

    mesh: MeshConfigSpec | None = None
    mesh_config: MeshConfigSpec | None = None
    ca_crt: Annotated[str, Length(0, 1024 * 1024)] = field(default="", metadata={"json": "ca.crt"})
    deployment: ParametersText = ""
    service: ParametersText = ""
    service_account: ParametersText = ""
    horizontal_pod_autoscaler: ParametersText = ""
    pod_disruption_budget: ParametersText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapSpec:
    """Mesh-wide settings where Istio has them: a ConfigMap in the root namespace.

    A MeshConfig wins over it. Other ConfigMaps belong to applications and are left out.
    """

    data: ConfigMapData = ConfigMapData()
