"""Localities: the region, zone and subzone in which something runs, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.model.labels import Labels

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
SUBZONE_LABEL = "topology.istio.io/subzone"
LOCALITY_LABEL = "istio-locality"
"""Istio's label, whose value has dots for slashes. It wins over what is said elsewhere."""
_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
EXPECTED = "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, such as eu-west/eu-west-1a"


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """Where something runs. A part is empty where it is not known; no part is known whose parent is not."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)

    def labels(self) -> Labels:
        """The labels of topology that say the same."""
        named = ((SUBZONE_LABEL, self.subzone), (REGION_LABEL, self.region), (ZONE_LABEL, self.zone))
        return tuple((name, part) for name, part in named if part)


NOWHERE = Locality()
"""Nobody said where it runs."""


def locality_from_text(text: str) -> Locality:
    """``region``, ``region/zone`` or ``region/zone/subzone``; nothing is nowhere. ValueError if it is none of these."""
    if not text:
        return NOWHERE
    parts = text.split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"found '{text}', expected {EXPECTED}")
    return Locality(*parts)


def is_locality(locality: Locality) -> bool:
    """Whether it can be written, and so be read again."""
    try:
        return locality_from_text(str(locality)) == locality
    except ValueError:
        return False


def locality_of(given: Locality, labels: Labels) -> Locality:
    """Where something with these labels runs: as ``istio-locality`` says, else as `given`, else by its labels of
    topology. A label that cannot be read says nothing."""
    named = dict(labels)
    text = named.get(LOCALITY_LABEL, "")
    if text:
        try:
            return locality_from_text(text if "/" in text else text.replace(".", "/"))
        except ValueError:
            pass
    return given if given != NOWHERE else _by_topology(named)


def _by_topology(labels: Mapping[str, str]) -> Locality:
    region = labels.get(REGION_LABEL, "")
    zone = labels.get(ZONE_LABEL, "") if region else ""
    return Locality(region, zone, labels.get(SUBZONE_LABEL, "") if zone else "") if region else NOWHERE


def with_topology(labels: Labels, locality: Locality) -> Labels:
    """Labels, with those of topology that `locality` means, sorted."""
    return tuple(sorted(dict([*labels, *locality.labels()]).items())) if locality != NOWHERE else labels
