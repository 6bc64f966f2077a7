"""Requests that proxies saw, as agents report them: those that failed or were slow, and those that somebody watches."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from weft.model.printable import bounded

MASKED = "***"
DENIED = ("rbac_access_denied", "jwt_authn_access_denied")
"""How Envoy's words begin for what a policy refused: who may call, and whose token is good."""
_MOST = 200
_MOST_HEADERS = 60
_LONGEST = 512
_AHEAD = 60.0
_LARGEST = 1 << 48
NumberT = TypeVar("NumberT", int, float)


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request (or, without `method`, connection) as one proxy saw it. `time` is when it began, in seconds since the
    epoch; `status` 0: no answer; `flags` are Envoy's, `-` if none; `details` its words for what decided the answer,
    `failure` why a connection could not be made. `peer` is the workload (``NAME.NAMESPACE``) that the other side proved
    to be. `object` and `source` name the rule. Secrets are masked, texts cut and printable. `tapped`: somebody watched;
    then `headers` has those of the request."""

    time: float
    side: str
    id: str = ""
    trace: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    status: int = 0
    flags: str = "-"
    details: str = ""
    failure: str = ""
    duration_ms: float = 0.0
    first_byte_ms: float | None = None
    upstream: str = ""
    cluster: str = ""
    peer: str = ""
    attempts: int = 0
    grpc_status: str = ""
    object: str = ""
    source: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    tapped: bool = False

    @property
    def failed(self) -> bool:
        """Whether it failed; otherwise it was only slow, or watched."""
        flags = set(self.flags.split(",")) - {"-", "DI"}
        return (
            self.status >= 500
            or self.denied
            or bool(flags)
            or self.grpc_status not in ("", "0")
            or not (self.status or self.tapped)
        )

    @property
    def denied(self) -> bool:
        """Whether a policy of the mesh refused it, whatever the application would have said."""
        return self.details.startswith(DENIED) or self.failure.startswith(DENIED)

    @property
    def tunnel(self) -> bool:
        """Whether it became a tunnel (CONNECT, WebSocket), which lasts long and ends when either side goes: nothing of
        that is wrong, and what goes through it is noted for itself."""
        return self.status == 101 or (self.method == "CONNECT" and 200 <= self.status < 300)


@dataclass(frozen=True, slots=True)
class TapFilter:
    """Which requests somebody wants to see. Empty fields mean all; `path` is a prefix, `status` a code or a class such
    as ``5xx``, `header` the name of one that must be there, `peer` the workload (``NAME.NAMESPACE``) on the other
    side."""

    method: str = ""
    path: str = ""
    status: str = ""
    header: str = ""
    peer: str = ""

    def covers(self, seen: RequestSeen) -> bool:
        """Whether a request is wanted."""
        status = self.status.lower()
        if status and str(seen.status) != status and not (status.endswith("xx") and str(seen.status)[:1] == status[:1]):
            return False
        if self.header and self.header.lower() not in {name for name, _ in seen.headers}:
            return False
        if self.peer and seen.peer != self.peer:
            return False
        return self.method.upper() in ("", seen.method) and seen.path.startswith(self.path)


@dataclass(frozen=True, slots=True)
class TapOrder:
    """Somebody watches: an agent passes on at most `rate` requests per second that any of `filters` covers, for
    `seconds` from now, unless told again."""

    filters: tuple[TapFilter, ...]
    rate: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestsReport:
    """``POST /v1/workloads/{namespace}/{name}/requests``: what the proxy noted since the last report, how many were
    left out for want of room, and how many of those that somebody watches were left out for the rate."""

    requests: tuple[RequestSeen, ...] = ()
    left_out: int = 0
    untapped: int = 0


@dataclass(frozen=True, slots=True)
class RequestsAnswer:
    """Report again within `interval` seconds, at once if there is something; `tap` is what somebody watches now;
    `revoked` is the version of the revocation list (empty: there is none)."""

    interval: float = 2.0
    tap: TapOrder | None = None
    revoked: str = ""


def fitting(report: RequestsReport, now: float) -> RequestsReport:
    """A report as it may be kept, whatever the agent that sent it is: bounded in number and length, printable, and of
    no other time than the past (`now` in seconds since the epoch)."""
    return RequestsReport(
        tuple(_fitting(seen, now) for seen in report.requests[:_MOST]),
        _within(report.left_out, _LARGEST) + max(0, len(report.requests) - _MOST),
        _within(report.untapped, _LARGEST),
    )


def _fitting(seen: RequestSeen, now: float) -> RequestSeen:
    changes: dict[str, Any] = {}
    for each in fields(RequestSeen):
        value = getattr(seen, each.name)
        if isinstance(value, str):
            changes[each.name] = bounded(value, _LONGEST)
    headers = tuple((bounded(name, 64), bounded(value, 128)) for name, value in seen.headers[:_MOST_HEADERS])
    time = seen.time if 0 <= seen.time <= now + _AHEAD else now
    numbers: dict[str, Any] = {
        "status": seen.status if 0 <= seen.status <= 999 else 0,
        "attempts": _within(seen.attempts, _LARGEST),
        "duration_ms": _within(seen.duration_ms, _LARGEST),
        "first_byte_ms": None if seen.first_byte_ms is None else _within(seen.first_byte_ms, _LARGEST),
    }
    return replace(seen, **changes, **numbers, headers=headers, time=time)


def _within(number: NumberT, most: int) -> NumberT:
    """`number`, or the nearest from 0 to `most`."""
    return max(type(number)(0), min(number, type(number)(most)))
