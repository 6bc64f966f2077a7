"""Gateway API, experimental: XBackendTrafficPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.sessionpersistence import SessionPersistence
from weft.schema.scalars import GatewayDuration, Length, Range, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTarget:
    """A Service of the same namespace."""

    name: Subdomain
    group: Literal[""] = ""
    kind: Literal["Service"] = "Service"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDetails:
    """How many of the requests that a proxy has under way to the service may be retries, in per cent."""

    percent: Annotated[int, Range(0, 100)] = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRate:
    """So many retries in an interval are let through whatever the budget says: as many at once as the rate comes to in
    a second, at least one."""

    count: Annotated[int, Range(1, 1_000_000)] = 10
    interval: GatewayDuration = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConstraint:
    """Bounds retries of each proxy. Without a bound by documents a proxy has 1024 retries under way at most."""

    budget: BudgetDetails = BudgetDetails()
    min_retry_rate: RequestRate = RequestRate()


@dataclass(frozen=True, slots=True, kw_only=True)
class XBackendTrafficPolicySpec:
    """https://gateway-api.sigs.k8s.io/geps/gep-3388/ and https://gateway-api.sigs.k8s.io/geps/gep-1619/

    `sessionPersistence`: who has a session with a Service stays at its instance, by whatever rule requests come there,
    also by none. A rule that says it itself has its own. By cookie only: see [sessions](../routing.md#sessions).
    """

    target_refs: Annotated[tuple[ServiceTarget, ...], Length(1, 16)]
    retry_constraint: RetryConstraint | None = None
    session_persistence: SessionPersistence | None = None
