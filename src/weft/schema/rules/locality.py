"""Rules of localityLbSetting, in DestinationRule and MeshConfig alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from weft.model.locality import REGION_LABEL, SUBZONE_LABEL, ZONE_LABEL, locality_from_text
from weft.schema.findings import Finding, Rule, conflicting, duplicate
from weft.schema.kinds.locality import LocalityDistribute, LocalityFailover, LocalityLbSetting

_PLACE = "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, each of which may be *"


def setting(spec: LocalityLbSetting) -> Iterator[Finding]:
    """Shares, or an order: not both. No two rules for one caller."""
    if spec.distribute and spec.failover:
        yield conflicting(("failover",), "distribute and failover exclude each other", "one of them")
    if spec.distribute and spec.failover_priority:
        yield conflicting(("failoverPriority",), "distribute and failoverPriority exclude each other", "one of them")
    yield from _overlaps([each.from_ for each in spec.distribute], "distribute", "from")
    regions: set[str] = set()
    for index, each in enumerate(spec.failover):
        if each.from_ in regions:
            yield duplicate(("failover", index, "from"), f"region '{each.from_}' is given twice")
        regions.add(each.from_)
    yield from _priorities(spec)


def _priorities(spec: LocalityLbSetting) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, text in enumerate(spec.failover_priority):
        path = ("failoverPriority", index)
        label, _, value = text.partition("=")
        if not label or "=" in value:
            yield Finding(path, f"found '{text}'", "LABEL or LABEL=VALUE")
        if label in seen:
            yield duplicate(path, f"label '{label}' is given twice")
        seen.add(label)
        if spec.failover and label in (REGION_LABEL, ZONE_LABEL, SUBZONE_LABEL):
            yield conflicting(path, f"failover orders by '{label}' already", "another label, or no failover")


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
}
