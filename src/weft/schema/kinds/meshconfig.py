"""Mesh-wide settings: weft's MeshConfig, and the ConfigMap in which Istio's `MeshConfig` comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.schema.kinds.virtualservice import HttpRetry
from weft.schema.scalars import Duration, Name, PositiveDuration, TrustDomain

WEFT_GROUP = "weft.dev"
MESH_CONFIG_NAME = "default"
"""What a MeshConfig is called."""
CONFIG_MAP_NAME = "istio"
"""The ConfigMap whose `mesh` Istio reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundTrafficPolicy:
    """What sidecars do with hosts that no document names: pass the request on (ALLOW_ANY), or answer 502."""

    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfigSpec:
    """Mesh-wide settings, as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/

    There is one: called `default`, in the root namespace. A change is in force at once, without a restart. What it does
    not say is as `weft serve` was started.

    * `outboundTrafficPolicy`: hosts that no document names.
    * `defaultHttpRetryPolicy`: retries of routes that name none of their own. `attempts: 2` alone is what Istio does;
      without the field only requests that cannot have been processed are tried again.
    * `connectTimeout`: for connections to services whose DestinationRule sets none.
    * `gatewayMaxRequestDuration`: how long a request at a gateway may last as a whole, from its first byte to the last
      of its answer: an hour without the field, `0s` for ever. A route with a longer timeout has as long as that; one
      whose timeout is `0s`, or that has none and leads to a port of WebSocket, has no bound. A change drains the
      connections of gateways.
    * `rootNamespace`: where mesh-wide PeerAuthentication and DestinationRule stand. The MeshConfig itself stays where
      the control plane was told to look (`istio-system`).
    * `trustDomain`: must be the one the control plane runs with, on which all identities hang.
    """

    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    default_http_retry_policy: HttpRetry | None = None
    connect_timeout: PositiveDuration | None = None
    gateway_max_request_duration: Duration | None = None
    root_namespace: Name = ""
    trust_domain: TrustDomain = ""
    enable_auto_mtls: Literal[True] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapData:
    """YAML text with the fields of a MeshConfig's `spec`: `mesh` in the ConfigMap `istio`, or `meshConfig` in any."""

    mesh: MeshConfigSpec | None = None
    mesh_config: MeshConfigSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapSpec:
    """Mesh-wide settings where Istio has them: a ConfigMap in the root namespace.

    A MeshConfig wins over it. Other ConfigMaps belong to applications and are left out.
    """

    data: ConfigMapData = ConfigMapData()
