"""weft: HealthCheckPolicy, callers' proxies try whether the instances of a Service work, and leave out those that do
not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from weft.schema.kinds.servicepolicy import ServiceTargets
from weft.schema.scalars import HeaderValue, Length, OneOf, Port, PositiveDuration, PreciseHostname, Range, UrlPath

Times = Annotated[int, Range(1, 100)]
Statuses = Annotated[str, Length(3, 7)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHealthCheck:
    """A request that is answered with one of `expectedStatuses`: `204`, or `200-299`."""

    path: UrlPath = "/"
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    host: PreciseHostname = ""
    expected_statuses: Annotated[tuple[Statuses, ...], Length(1, 8)] = ("200-299",)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcHealthCheck:
    """https://github.com/grpc/grpc/blob/master/doc/health-checking.md, of the server or of one `service` of it."""

    service: HeaderValue = ""
    host: PreciseHostname = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpHealthCheck:
    """A connection; with `receive`, one on which this text comes, after `send` was sent. Without, it says of an
    instance with a proxy no more than that the proxy is there."""

    send: Annotated[str, Length(0, 1024)] = ""
    receive: Annotated[str, Length(0, 1024)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckPolicySpec:
    """Instances of a Service that fail `unhealthyThreshold` checks in a row get no calls until they pass
    `healthyThreshold` of them. A new one gets none before its first check.

    The proxy of every caller checks every instance, over the same connections and with the same identity as its calls,
    so policies of access must let callers in. `port` is another port of the Service, at which to check.
    """

    one_of: ClassVar = OneOf(("http", "grpc", "tcp"))
    target_refs: ServiceTargets
    http: HttpHealthCheck | None = None
    grpc: GrpcHealthCheck | None = None
    tcp: TcpHealthCheck | None = None
    port: Port | None = None
    interval: PositiveDuration = 10.0
    timeout: PositiveDuration = 2.0
    unhealthy_threshold: Times = 3
    healthy_threshold: Times = 2
