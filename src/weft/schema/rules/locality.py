"""Rules of localityLbSetting and zoneAwareLbSetting, in DestinationRule and MeshConfig alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from weft.model.locality import REGION_LABEL, SUBZONE_LABEL, ZONE_LABEL, locality_from_text
from weft.schema.findings import Finding, Rule, conflicting, duplicate
from weft.schema.kinds.destinationrule import LoadBalancer
from weft.schema.kinds.locality import LocalityDistribute, LocalityFailover, LocalityLbSetting, ZoneAwareLbSetting
from weft.schema.kinds.meshconfig import MeshConfigSpec

_PLACE = "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, each of which may be *"


def setting(spec: LocalityLbSetting) -> Iterator[Finding]:
    """Shares, or an order: not both. No two rules for one caller."""
    if spec.distribute and spec.failover:
        yield conflicting(("failover",), "distribute and failover exclude each other", "one of them")
    if spec.distribute and spec.failover_priority:
        yield conflicting(("failoverPriority",), "distribute and failoverPriority exclude each other", "one of them")
    yield from _overlaps([each.from_ for each in spec.distribute], "distribute", "from")
    yield from _regions(spec)
    yield from _priorities(spec, "failover orders" if spec.failover else "")


def zone_aware(spec: ZoneAwareLbSetting) -> Iterator[Finding]:
    """Regions and zones have their order already."""
    yield from _regions(spec)
    yield from _priorities(spec, "zoneAwareLbSetting orders")


def alone(spec: LoadBalancer | MeshConfigSpec) -> Iterator[Finding]:
    """One of the two settings. Where a key chooses the instance no zone does."""
    if spec.zone_aware_lb_setting is None:
        return
    path = ("zoneAwareLbSetting",)
    if spec.locality_lb_setting is not None:
        yield conflicting(path, "localityLbSetting and zoneAwareLbSetting exclude each other", "one of them")
    if isinstance(spec, LoadBalancer) and spec.consistent_hash is not None:
        message = "with consistentHash a key chooses the instance, in whichever zone it is"
        yield conflicting(path, message, "one of them; localityLbSetting goes with consistentHash")


def _regions(spec: LocalityLbSetting | ZoneAwareLbSetting) -> Iterator[Finding]:
    regions: set[str] = set()
    for index, each in enumerate(spec.failover):
        if each.from_ in regions:
            yield duplicate(("failover", index, "from"), f"region '{each.from_}' is given twice")
        regions.add(each.from_)


def _priorities(spec: LocalityLbSetting | ZoneAwareLbSetting, ordered: str) -> Iterator[Finding]:
    """`ordered`: what orders by region, zone and subzone already, and how."""
    seen: set[str] = set()
    for index, text in enumerate(spec.failover_priority):
        path = ("failoverPriority", index)
        label, _, value = text.partition("=")
        if not label or "=" in value:
            yield Finding(path, f"found '{text}'", "LABEL or LABEL=VALUE")
        if label in seen:
            yield duplicate(path, f"label '{label}' is given twice")
        seen.add(label)
        if ordered and label in (REGION_LABEL, ZONE_LABEL, SUBZONE_LABEL):
            otherwise = ", or no failover" if isinstance(spec, LocalityLbSetting) else ""
            yield conflicting(path, f"{ordered} by '{label}' already", f"another label{otherwise}")


def distribute(spec: LocalityDistribute) -> Iterator[Finding]:
    """Places that can be read, none inside another, and percents of a whole."""
    yield from _unreadable(("from",), spec.from_)
    for place in spec.to:
        yield from _unreadable(("to", place), place)
    total = sum(spec.to.values())
    if total != 100:
        yield Finding(("to",), f"the shares are {total} percent together", "100")
    yield from _overlaps(list(spec.to), "to", "")


def failover(spec: LocalityFailover) -> Iterator[Finding]:
    """Two different regions."""
    for name, region in (("from", spec.from_), ("to", spec.to)):
        if "/" in region or "*" in region:
            yield Finding((name,), f"found '{region}'", "the name of a region")
    if spec.from_ == spec.to:
        yield Finding(("to",), "it is the region that fails", "another region")


def _unreadable(path: tuple[str, ...], text: str) -> Iterator[Finding]:
    parts = text.split("/")
    starred = parts.index("*") if "*" in parts else len(parts)
    fits = all(part == "*" for part in parts[starred:]) and len(parts) <= 3
    try:
        locality_from_text("/".join(parts[:starred]))
    except ValueError:
        fits = False
    if not fits or not text:
        yield Finding(path, f"found '{text}'", _PLACE)


def _overlaps(places: Sequence[str], field: str, inner: str) -> Iterator[Finding]:
    """A place inside another: which of the two is meant could not be told."""
    for index, place in enumerate(places):
        for earlier in places[:index]:
            if _within(place, earlier) or _within(earlier, place):
                path = (field, index, inner) if inner else (field, place)
                yield duplicate(path, f"'{place}' and '{earlier}' have places in common")
                break


def _within(place: str, other: str) -> bool:
    """Whether everything in `place` is in `other`."""
    own, wider = place.split("/"), other.split("/")
    return all(wanted == "*" or own[at : at + 1] == [wanted] for at, wanted in enumerate(wider))


RULES: Mapping[type, tuple[Rule, ...]] = {
    LocalityLbSetting: (setting,),
    LocalityDistribute: (distribute,),
    LocalityFailover: (failover,),
    ZoneAwareLbSetting: (zone_aware,),
}
