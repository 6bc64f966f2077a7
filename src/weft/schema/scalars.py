"""Scalar types of the APIs, as annotations that the decoder understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NewType


@dataclass(frozen=True, slots=True)
class Scalar:
    """Marks a scalar whose text has a form of its own; `form` names it for the decoder and for error messages."""

    form: str


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of a number."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Length:
    """Inclusive bounds of the number of items of a list, or of characters of a string."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class OrPairs:
    """Marks a mapping that may be written as a list of mappings, whose keys differ."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Marks a dataclass of which exactly one of these fields (snake_case) must be set (`required`), or at most one."""

    fields: tuple[str, ...]
    required: bool = True


AnyValue = NewType("AnyValue", str)
"""Whatever stands there, as JSON with sorted keys."""
Duration = Annotated[float, Scalar("duration")]
"""Seconds. Text such as ``1.5s``, ``2m``, ``100ms`` (Go's form)."""
PositiveDuration = Annotated[float, Scalar("positive-duration")]
"""Seconds, at least a millisecond."""
GatewayDuration = Annotated[float, Scalar("gateway-duration")]
"""Seconds. Text of GEP-2257: whole numbers with ``h``, ``m``, ``s``, ``ms``."""

Port = Annotated[int, Range(1, 65535)]
WrittenPort = Annotated[int, Scalar("written-port"), Range(1, 65535)]
"""A port that may stand in quotes, as ``port: "9000"``: so Istio's pages have it where no API server looks at types."""
ClusterIp = Annotated[str, Scalar("cluster-ip")]
"""The address of a Service in a cluster, or ``None`` for one without (headless)."""
Weight = Annotated[int, Scalar("weight"), Range(0, 2**31 - 1)]
"""A share; quantities of Kubernetes are put into whole numbers (`weft.schema.rules.normal_form`)."""
PortOrName = Annotated[int | str, Scalar("port-or-name")]
Percent = Annotated[float, Range(0, 100)]
Name = Annotated[str, Scalar("dns-label")]
"""RFC 1123 label."""
Subdomain = Annotated[str, Scalar("dns-subdomain")]
"""RFC 1123 subdomain: an object's name."""
Hostname = Annotated[str, Scalar("hostname")]
"""A DNS name, a leading ``*.`` allowed."""
PreciseHostname = Annotated[str, Scalar("precise-hostname")]
"""A DNS name without wildcard."""
MeshHost = Annotated[str, Scalar("mesh-host")]
"""Istio: a DNS name, a short service name, ``*`` or a name with a leading ``*.``."""
ServiceHost = Annotated[str, Scalar("service-host")]
"""Istio: the host of a service, full or short."""
Regex = Annotated[str, Scalar("regex")]
"""RE2 syntax: linear time, no look-around, no back references."""
PresenceRegex = Annotated[str, Scalar("presence-regex")]
"""A Regex, or ``*``: any value (Istio's exception; RE2 knows no such expression)."""
HeaderName = Annotated[str, Scalar("header-name")]
MatchedHeader = Annotated[str, Scalar("matched-header")]
"""A HeaderName, or a claim of the request's token: ``@request.auth.claims.NAME``."""
SettableHeader = Annotated[str, Scalar("settable-header")]
"""A HeaderName, or ``:authority``: what the host is called on the wire."""
CookieName = Annotated[str, Scalar("cookie-name")]
HeaderValue = Annotated[str, Scalar("header-value")]
"""Text without control characters."""
LabelKey = Annotated[str, Scalar("label-key")]
LabelValue = Annotated[str, Scalar("label-value")]
SecretKey = Annotated[str, Scalar("secret-key")]
"""A key of a Secret's data."""
Base64 = Annotated[bytes, Scalar("base64")]
CelExpression = Annotated[str, Scalar("cel")]
"""An expression over Envoy's attributes; empty for none."""
LogFormat = Annotated[str, Scalar("log-format")]
"""Text with Envoy's command operators."""
LogPath = Annotated[str, Scalar("log-path")]
"""Standard output or error, or the name of a file in the proxy's directory."""
HostAndPort = Annotated[str, Scalar("host-and-port")]
"""``HOST:PORT``; an IPv6 address in brackets."""
MetricLabel = Annotated[str, Scalar("metric-label")]
VariableName = Annotated[str, Scalar("variable-name")]
ProviderService = Annotated[str, Scalar("provider-service")]
"""Istio: a service, perhaps with its namespace before a slash; or a host outside the mesh."""
HeaderPattern = Annotated[str, Scalar("header-pattern")]
"""Istio: a HeaderName, or with ``*`` at one end the beginning or the end of several."""
CorsOrigin = Annotated[str, Scalar("cors-origin")]
"""Gateway API: ``*``, or a scheme and host, whose host may begin with ``*``."""
RefusalStatus = Annotated[int, Scalar("refusal-status")]
"""A status from 400 to 599, as text."""
HttpsUrl = Annotated[str, Scalar("https-url")]
"""A URL with https, or with http to a loopback address; no password in it."""
UrlPath = Annotated[str, Scalar("url-path")]
"""A path as clients write it after normalisation: no query, no escapes, no dots."""
TrustDomain = Annotated[str, Scalar("trust-domain")]
"""The trust domain of SPIFFE identities."""
InstanceAddress = Annotated[str, Scalar("instance-address")]
"""Istio: an IP address, or a DNS name."""
AddressRange = Annotated[str, Scalar("address-range")]
"""An IP address, or a range of them in CIDR notation."""
LocalityText = Annotated[str, Scalar("locality")]
"""``region/zone/subzone``, or less of it."""
ServiceProtocol = Annotated[str, Scalar("service-protocol")]
"""Istio: what a port speaks, in upper case."""
NamespacedHost = Annotated[str, Scalar("namespaced-host")]
"""Istio: a namespace (``.``, ``*``, ``~`` or a name), a slash, and a host, perhaps with a wildcard."""
LoopbackEndpoint = Annotated[str, Scalar("loopback-endpoint")]
"""Istio: an address of the workload itself, and a port."""
Export = Annotated[str, Scalar("export")]
"""Istio: a namespace, ``.`` for that of the document, or ``*`` for all."""
Timestamp = Annotated[float, Scalar("timestamp")]
"""Seconds since the epoch. RFC 3339 text."""
