"""weft: RateLimitPolicy, how many requests pass in which time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.httproute import HeaderMatch, Method, PathMatch
from weft.schema.scalars import Length, Name, Range, Subdomain

Count = Annotated[int, Range(1, 1_000_000_000)]
"""More than any proxy serves; and Envoy's buckets hold no more than 2^32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTarget:
    """What the policy is for, in the same namespace: a Service (with `sectionName` one port of it), a Gateway, or a
    route for what it has at Gateways."""

    name: Subdomain
    group: Literal["", "gateway.networking.k8s.io"] | None = None
    kind: Literal["Service", "Gateway", "HTTPRoute", "GRPCRoute"]
    section_name: Subdomain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitMatch:
    """All conditions must hold. Paths are those after normalisation, without the query."""

    path: PathMatch | None = None
    method: Method | None = None
    headers: Annotated[tuple[HeaderMatch, ...], Length(0, 8)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKey:
    """What requests are told apart by. `name` is the header's, or the claim's (with dots for claims in claims).

    Identity is the caller's SPIFFE ID by its certificate; ClientAddress the address of the connection, at a Gateway
    that of the client (of IPv6 the first 64 bits); a Claim a text of the valid token. Requests without one share
    a count, and so do those whose value is
    longer than 256 bytes.
    """

    type: Literal["ClientAddress", "Identity", "Header", "Claim", "Path", "Method", "Host"]
    name: Annotated[str, Length(1, 256)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many `requests` in a `unit` of time, and at once as many as `burst` (or `requests`), for each value of what
    `by` names (none: all together). A limit without `match` is for every request."""

    name: Name
    requests: Count
    unit: Literal["Second", "Minute", "Hour", "Day"]
    burst: Count | None = None
    match: LimitMatch | None = None
    by: Annotated[tuple[LimitKey, ...], Length(0, 4)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitPolicySpec:
    """How many requests pass: before an application (a Service), or at a Gateway. A request is within all limits of the
    policy or gets 429, with ``retry-after`` and ``ratelimit-*`` headers; gRPC gets RESOURCE_EXHAUSTED.

    A policy of a route takes the place of its Gateway's; of two for one target the oldest is in force. In mode Local
    every proxy counts for itself, in mode Global the control plane counts for all of them, and `failureMode` says what
    happens while it does not answer within a tenth of a second. With `dryRun` requests are counted and none is refused.
    """

    target_refs: Annotated[tuple[LimitTarget, ...], Length(1, 16)]
    limits: Annotated[tuple[Limit, ...], Length(1, 16)]
    mode: Literal["Local", "Global"] = "Local"
    dry_run: bool = False
    failure_mode: Literal["Open", "Closed"] | None = None
