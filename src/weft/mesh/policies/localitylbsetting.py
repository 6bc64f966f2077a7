"""localityLbSetting and zoneAwareLbSetting: which is in force for a service, and what order or shares it gives it."""

from __future__ import annotations

from weft.mesh.services.service import NEAR, Nearness
from weft.model.locality import REGION_LABEL, ZONE_LABEL
from weft.schema.kinds.locality import LocalityLbSetting, ZoneAwareLbSetting

_CLOSE = (REGION_LABEL, ZONE_LABEL)
_DISTRIBUTIONS = {"PreferClose": _CLOSE, "PreferSameZone": _CLOSE}
"""What a Service's trafficDistribution means, as labels of failoverPriority."""


Setting = LocalityLbSetting | ZoneAwareLbSetting


def nearness_of(own: Setting | None, distribution: str, mesh: Nearness | None, ejects: bool) -> Nearness | None:
    """What holds for a service: the DestinationRule's `own` setting, else the Service's trafficDistribution, else that
    of the `mesh`.

    An order of endpoints needs callers that know which of them fail: `ejects`, its outlierDetection. What a Service
    says of distribution is in force without, by the health that endpoints are known to have; so are shares and zones.
    """
    if own is None and distribution in _DISTRIBUTIONS:
        return Nearness(labels=tuple([(label, None) for label in _DISTRIBUTIONS[distribution]]))
    found = mesh if own is None else build_nearness(own)
    return found if found is not None and (found.shares or found.zones is not None or ejects) else None


def build_nearness(setting: Setting | None) -> Nearness | None:
    """What a setting says; without one, callers prefer what is near. None: it is turned off."""
    if setting is None:
        return NEAR
    if setting.enabled is False:
        return None
    distribute = () if isinstance(setting, ZoneAwareLbSetting) else setting.distribute
    return Nearness(
        shares=tuple([(each.from_, tuple(each.to.items())) for each in distribute]),
        failover=tuple([(each.from_, each.to) for each in setting.failover]),
        labels=tuple([_label(text) for text in setting.failover_priority]),
        zones=setting.min_cluster_size if isinstance(setting, ZoneAwareLbSetting) else None,
    )


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None
