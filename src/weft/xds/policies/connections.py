"""How long TCP connections to a backend live, those that carry HTTP and those that are carried as they are."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.services.service import ConnectionLimits
from weft.xds.limits import TCP_IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class TcpTimes:
    """Of a connection carried as TCP, in seconds: `idle` without a byte (0: for ever), `longest` from its start."""

    idle: float = TCP_IDLE_SECONDS
    longest: float | None = None


DEFAULT_TIMES = TcpTimes()


def tcp_times(limits: ConnectionLimits) -> TcpTimes:
    """What `limits` say, else an hour without a byte."""
    idle = TCP_IDLE_SECONDS if limits.tcp_idle_timeout is None else limits.tcp_idle_timeout
    return TcpTimes(idle, limits.max_connection_duration or None)


def http_idle(limits: ConnectionLimits, default: float) -> float:
    """How long a connection is kept for the next request. Like Istio, TCP's limit counts where HTTP's is not given."""
    for given in (limits.http_idle_timeout, limits.tcp_idle_timeout):
        if given is not None:
            return given
    return default
