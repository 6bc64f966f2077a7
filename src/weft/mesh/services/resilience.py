"""Nodes of resilience: how the instances of a service are tried, compared, spared, and replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.model.origin import Origin

Key = tuple[str, int, str]
"""A `BackendKey`, as a plain tuple."""
StatusRange = tuple[int, int]
"""The first and the last status of a range."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What callers try at each endpoint. Times in seconds. `host` is what is asked for; `send` and `receive` are of
    TCP, `service` of gRPC. `port` is another port of the service, at which it is tried (0: its own)."""

    protocol: Literal["http", "grpc", "tcp"]
    interval: float
    timeout: float
    unhealthy_threshold: int
    healthy_threshold: int
    host: str = ""
    path: str = ""
    method: str = ""
    statuses: tuple[StatusRange, ...] = ()
    service: str = ""
    send: bytes = b""
    receive: bytes = b""
    port: int = 0


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """Ejects whose success rate is `deviations` standard deviations below the mean."""

    deviations: float
    minimum_hosts: int
    request_volume: int


@dataclass(frozen=True, slots=True)
class FailurePercentage:
    """Ejects who fails `threshold` percent of its calls."""

    threshold: int
    minimum_hosts: int
    request_volume: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How endpoints are compared with each other; the times hold where nothing else is said of ejection."""

    success_rate: SuccessRate | None
    failure_percentage: FailurePercentage | None
    interval: float
    base_time: float
    max_percent: int


@dataclass(frozen=True, slots=True)
class Resilience:
    """What policies say of one backend. `fallbacks` take its calls, in this order, when fewer than `below` percent of
    its endpoints are healthy (0: when none is). `origins` are the policies'."""

    health: HealthCheck | None = None
    comparison: Comparison | None = None
    fallbacks: tuple[Key, ...] = ()
    below: int = 0
    origins: tuple[Origin, ...] = ()


NO_RESILIENCE = Resilience()


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """As many requests at once as do not make an application slower. Times in seconds, shares in percent."""

    most: int
    least: int
    percentile: int
    update_interval: float
    measure_interval: float
    measure_requests: int
    buffer: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Requests are refused by chance where less than `threshold` percent of those in the `window` (seconds)
    succeeded."""

    threshold: int
    window: float
    aggression: float
    requests_per_second: int
    most: int
    successes: tuple[StatusRange, ...]


@dataclass(frozen=True, slots=True)
class Overload:
    """What an application's proxy refuses on its behalf; `origin` is the policy's."""

    concurrency: ConcurrencyLimit | None
    admission: Admission | None
    origin: Origin
