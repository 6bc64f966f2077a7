"""Scalar types of the APIs, as annotations that the decoder understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


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
class OneOf:
    """Marks a dataclass of which exactly one of these fields (snake_case) must be set (`required`), or at most one."""

    fields: tuple[str, ...]
    required: bool = True


Duration = Annotated[float, Scalar("duration")]
"""Seconds. Text such as ``1.5s``, ``2m``, ``100ms`` (Go's form)."""
PositiveDuration = Annotated[float, Scalar("positive-duration")]
"""Seconds, at least a millisecond."""
GatewayDuration = Annotated[float, Scalar("gateway-duration")]
"""Seconds. Text of GEP-2257: whole numbers with ``h``, ``m``, ``s``, ``ms``."""

Port = Annotated[int, Range(1, 65535)]
ClusterIp = Annotated[str, Scalar("cluster-ip")]
"""The address of a Service in a cluster, or ``None`` for one without (headless)."""
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
TrustDomain = Annotated[str, Scalar("trust-domain")]
"""The trust domain of SPIFFE identities."""
Timestamp = Annotated[float, Scalar("timestamp")]
"""Seconds since the epoch. RFC 3339 text."""
