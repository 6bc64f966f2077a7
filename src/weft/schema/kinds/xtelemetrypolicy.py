"""Gateway API, experimental: XTelemetryPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.httproute import BackendObjectReference, Fraction, HttpHeader
from weft.schema.scalars import HeaderName, Hostname, Length, Subdomain

EXPERIMENTAL_GROUP: Final = "gateway.networking.x-k8s.io"
Mode = Literal["Enabled", "Disabled", "ImplementationDefault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTarget:
    """A Gateway of the same namespace."""

    name: Subdomain
    group: Literal["gateway.networking.k8s.io"] = GATEWAY_GROUP
    kind: Literal["Gateway"] = "Gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingProvider:
    """Who takes the spans, over OTLP: gRPC if the Service's port says that it speaks HTTP/2, else HTTP."""

    backend_ref: BackendObjectReference
    headers: Annotated[tuple[HttpHeader, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentBasedSampling:
    """Enabled: who sends a sampled `traceparent` is traced. Otherwise strangers decide nothing."""

    mode: Mode = "ImplementationDefault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute of every span: a text, a header of the request, or a name of OpenTelemetry's conventions."""

    name: Annotated[str, Length(1, 256)]
    source_type: Literal["Header", "Literal", "Attribute"]
    header_name: HeaderName = ""
    literal_value: Annotated[str, Length(0, 1024)] = ""
    attribute_key: Annotated[str, Length(0, 256)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Traces of a gateway. Enabled needs a provider; Disabled is without traces, whatever a Telemetry says;
    ImplementationDefault leaves them to Telemetry and MeshConfig."""

    mode: Mode = "ImplementationDefault"
    provider: TracingProvider | None = None
    sampling_rate: Fraction | None = None
    parent_based_sampling: ParentBasedSampling | None = None
    service_name: Hostname = ""
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class XTelemetryPolicySpec:
    """https://gateway-api.sigs.k8s.io/geps/gep-4768/

    One policy is in force for a Gateway, the oldest; it goes over what a Telemetry says of its traces.
    """

    target_refs: Annotated[tuple[GatewayTarget, ...], Length(1, 16)]
    tracing: TracingConfig = TracingConfig()
