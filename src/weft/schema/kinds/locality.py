"""Istio's settings of which instances a caller prefers by where they run: by locality, and by zone."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneAwareLbSetting:
    """https://istio.io/latest/docs/reference/config/networking/destination-rule/#ZoneAwareLoadBalancerSetting

    Callers keep as many calls in their own zone as its instances can take if all instances of the service are to get
    the same share of what all callers of the caller's service send; the rest goes to the zones of the region that have
    more instances than callers. In force where instances run in more than one zone of the caller's region, at least
    `minClusterSize` of them there, and one in its zone; elsewhere they are all the same. Other regions come after the
    caller's own, ordered by `failover`; with `failoverPriority` that is so among instances with the same labels. No
    proxy needs ISTIO_META_ENABLE_SELF_DISCOVERY for it.
    """

    failover: Annotated[tuple[LocalityFailover, ...], Length(0, 64)] = ()
    failover_priority: Annotated[tuple[Place, ...], Length(0, 16)] = ()
    min_cluster_size: Annotated[int, Range(0, 1_000_000)] = 6
    enabled: bool | None = None
