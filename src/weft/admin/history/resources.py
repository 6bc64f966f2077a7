"""What a revision changed of what proxies are given: names by type, with a readable difference of the first ones."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import msgspec

from weft.xds.describe import describe_resource
from weft.xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTES,
    SECRET,
    Resource,
    ResourceSet,
    XdsSnapshot,
)

WORDS = {
    CLUSTER: "clusters",
    ENDPOINTS: "endpoints",
    LISTENER: "listeners",
    ROUTES: "routes",
    EXTENSION: "filters",
    SECRET: "secrets",
}
Layers = tuple[ResourceSet, ...]
_EMPTY = ResourceSet()
_GROUPS = 50
_NAMES = 200
"""Of one group and type, and of the proxies of one group."""
_DIFFERENCES = 100
_LINES = 60
_LARGEST = 128 << 10
"""Bytes of a resource that is taken apart for people."""
_TOTAL = 256 << 10


class ResourceChange(msgspec.Struct, frozen=True):
    """One resource that was added, removed or changed, with a unified diff of it as JSON (changed ones, the first of
    them)."""

    type: str
    name: str
    change: str
    diff: str = ""


class ResourceGroup(msgspec.Struct, frozen=True):
    """Proxies for which the same changed. `counts` are of all, by type and change; `changes` the first of them."""

    proxies: tuple[str, ...]
    proxy_count: int
    counts: dict[str, dict[str, int]]
    changes: tuple[ResourceChange, ...]


class Resources(msgspec.Struct, frozen=True):
    """All that changed. `more_groups` are counted only."""

    groups: tuple[ResourceGroup, ...] = ()
    more_groups: int = 0


class Watch:
    """Takes note of what proxies held before and hold now while a revision of documents is published. It is called for
    each proxy whose configuration changed, and only holds on to what is there."""

    def __init__(self) -> None:
        self.on = False
        self._layers: dict[str, tuple[Layers, Layers]] = {}

    def offered(self, proxy: str, before: XdsSnapshot | None, after: XdsSnapshot) -> None:
        """A proxy is offered `after` instead of `before`. Of several steps the first `before` counts."""
        if self.on and before is not None:
            first = self._layers[proxy][0] if proxy in self._layers else before.layers
            self._layers[proxy] = (first, after.layers)

    def taken(self) -> Mapping[str, tuple[Layers, Layers]]:
        """What was noted; it begins anew."""
        self.on, found, self._layers = False, self._layers, {}
        return found


def resource_changes(watched: Mapping[str, tuple[Layers, Layers]]) -> Resources:
    """What changed, for each set of proxies for which the same layers did. May take a while: not for the event loop."""
    pairs: dict[tuple[int, int], tuple[ResourceSet, ResourceSet, list[str]]] = {}
    for proxy, (old, new) in sorted(watched.items()):
        for before, after in zip_longest(old, new, fillvalue=_EMPTY):
            if before is not after:
                pairs.setdefault((id(before), id(after)), (before, after, []))[2].append(proxy)
    together: dict[tuple[str, ...], list[tuple[ResourceSet, ResourceSet]]] = {}
    for before, after, proxies in pairs.values():
        together.setdefault(tuple(proxies), []).append((before, after))
    room = _Room()
    found: list[ResourceGroup] = []
    for names, layers in sorted(together.items(), key=lambda one: -len(one[0])):
        if len(found) < _GROUPS:
            group = _group(names, layers, room)
            if group.counts:
                found.append(group)
    return Resources(tuple(found), max(0, len(together) - _GROUPS))


class _Room:
    """How much may still be said in detail."""

    def __init__(self) -> None:
        self.differences = _DIFFERENCES
        self.size = _TOTAL

    def take(self, text: str) -> str:
        if len(text) > self.size:
            return ""
        self.size -= len(text)
        self.differences -= 1
        return text


def _group(proxies: tuple[str, ...], layers: Sequence[tuple[ResourceSet, ResourceSet]], room: _Room) -> ResourceGroup:
    counts: dict[str, dict[str, int]] = {}
    changes: list[ResourceChange] = []
    for url, word in WORDS.items():
        old = {name: one for before, _ in layers for name, one in before.of_type(url).items()}
        new = {name: one for _, after in layers for name, one in after.of_type(url).items()}
        for told, (name, change) in enumerate(_changed(old, new)):
            of_type = counts.setdefault(word, {})
            of_type[change] = of_type.get(change, 0) + 1
            if told < _NAMES and room.size > 0:
                detailed = change == "changed" and room.differences > 0
                diff = room.take(resource_diff(old[name], new[name])) if detailed else ""
                room.size -= len(name) + 40
                changes.append(ResourceChange(word, name, change, diff))
    return ResourceGroup(proxies[:_NAMES], len(proxies), counts, tuple(changes))


def _changed(old: Mapping[str, Resource], new: Mapping[str, Resource]) -> Iterator[tuple[str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield name, "added"
        elif name not in new:
            yield name, "removed"
        elif old[name] is not new[name] and old[name].version != new[name].version:
            yield name, "changed"


def resource_diff(old: Resource, new: Resource) -> str:
    """The difference of two resources as a person reads it, without keys and passwords."""
    if max(len(old.delta_bytes), len(new.delta_bytes)) > _LARGEST:
        return f"(too large to be shown: {len(old.delta_bytes):,} and {len(new.delta_bytes):,} bytes)\n"
    before, after = (
        json.dumps(describe_resource(one), indent=1, ensure_ascii=False).splitlines() for one in (old, new)
    )
    return cut_lines(difflib.unified_diff(before, after, "before", "after", lineterm="", n=2), _LINES)


def cut_lines(lines: Iterable[str], most: int) -> str:
    """The lines, but not more than `most` of them."""
    every = list(lines)
    if len(every) > most:
        every = [*every[:most], f"(and {len(every) - most} lines more)"]
    return "".join(f"{line}\n" for line in every)
