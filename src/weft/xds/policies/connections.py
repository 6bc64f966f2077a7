"""How long TCP connections to a backend live, those that carry HTTP and those that are carried as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.routes.connections import Layer4Route
from weft.mesh.services.service import Backend, BackendKey, ConnectionLimits
from weft.xds.limits import TCP_IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class TcpTimes:
    """Of a connection carried as TCP, in seconds: `idle` without a byte (0: for ever), `longest` from its start.
    `tunnel` (``host:port``) is where its endpoint, an HTTP proxy, is asked to lead it, `by_post` how."""

    idle: float = TCP_IDLE_SECONDS
    longest: float | None = None
    tunnel: str = ""
    by_post: bool = False


DEFAULT_TIMES = TcpTimes()


def tcp_times(limits: ConnectionLimits, tunnel: str = "", by_post: bool = False) -> TcpTimes:
    """What `limits` say, else an hour without a byte."""
    idle = TCP_IDLE_SECONDS if limits.tcp_idle_timeout is None else limits.tcp_idle_timeout
    return TcpTimes(idle, limits.max_connection_duration or None, tunnel, by_post)


def times_of(backends: Mapping[BackendKey, Backend], route: Layer4Route) -> TcpTimes:
    """How long connections of a route may last: by the policy of the first backend that gets any."""
    first = next(iter(route.used()), None)
    found = None if first is None else backends.get(first._replace(opaque=False)) or backends.get(first)
    policy = found.policy if found is not None else None
    return DEFAULT_TIMES if policy is None else tcp_times(policy.limits, policy.tunnel, policy.by_post)


def http_idle(limits: ConnectionLimits, default: float) -> float:
    """How long a connection is kept for the next request. Like Istio, TCP's limit counts where HTTP's is not given."""
    for given in (limits.http_idle_timeout, limits.tcp_idle_timeout):
        if given is not None:
            return given
    return default
