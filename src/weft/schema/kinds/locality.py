"""Istio: LocalityLoadBalancerSetting, which instances a caller prefers by where they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.scalars import Length, Range

Place = Annotated[str, Length(1, 200)]
Share = Annotated[int, Range(1, 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityDistribute:
    """Callers in `from` share their calls out over the localities in `to`, in percent. Both are written
    `region/zone/subzone`, where `*` stands for any, and so does a part that is left out."""

    from_: Place = field(metadata={"json": "from"})
    to: Mapping[Place, Share]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityFailover:
    """Callers of one region go to one other when their own has too few healthy instances, and last of all elsewhere."""

    from_: Place = field(metadata={"json": "from"})
    to: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityLbSetting:
    """https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting

    `distribute` is always in force. `failover` and `failoverPriority` are where the policy has `outlierDetection`;
    without either, callers prefer their own subzone, zone and region, in this order. A label of `failoverPriority` may
    have a value (`LABEL=VALUE`); without one, it is the caller's own.
    """

    distribute: Annotated[tuple[LocalityDistribute, ...], Length(0, 64)] = ()
    failover: Annotated[tuple[LocalityFailover, ...], Length(0, 64)] = ()
    failover_priority: Annotated[tuple[Place, ...], Length(0, 16)] = ()
    enabled: bool | None = None
