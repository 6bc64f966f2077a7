"""What streams share: differences between layers, whole encoded types, and sets of subscribed names. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from weakref import WeakValueDictionary

from weft.discovery.wire import framed_resources
from weft.xds.snapshot import ResourceSet, XdsSnapshot

_EMPTY = ResourceSet()


class Shared:
    """Computed once for all streams, keyed by the identity of frozen layers; the latest `size` results are kept."""

    def __init__(self, size: int = 512) -> None:
        self._size = size
        self._differences: OrderedDict[tuple[int, int, str], tuple[ResourceSet, ResourceSet, frozenset[str]]] = (
            OrderedDict()
        )
        self._bodies: OrderedDict[tuple[int, ...], tuple[tuple[ResourceSet, ...], dict[str, tuple[str, bytes]]]] = (
            OrderedDict()
        )
        self._versions: OrderedDict[tuple[int, str], tuple[ResourceSet, dict[str, str]]] = OrderedDict()
        self._names: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    def touched(self, old: XdsSnapshot, new: XdsSnapshot, type_url: str) -> frozenset[str]:
        """Names of a type that were added, changed, removed, or moved between layers."""
        if old.layers is new.layers:
            return frozenset()
        touched: frozenset[str] = frozenset()
        for index in range(max(len(old.layers), len(new.layers))):
            before = old.layers[index] if index < len(old.layers) else _EMPTY
            after = new.layers[index] if index < len(new.layers) else _EMPTY
            if before is after:
                continue
            difference = self._difference(before, after, type_url)
            touched = touched | difference if touched else difference
        return touched

    def _difference(self, before: ResourceSet, after: ResourceSet, type_url: str) -> frozenset[str]:
        key = (id(before), id(after), type_url)
        known = self._differences.get(key)
        if known is not None:
            return known[2]
        old, new = before.of_type(type_url), after.of_type(type_url)
        if old is new:
            names: frozenset[str] = frozenset()
        else:
            names = frozenset(
                [
                    *(name for name, resource in new.items() if old.get(name) is not resource),
                    *(name for name in old if name not in new),
                ]
            )
        self._differences[key] = (before, after, names)
        if len(self._differences) > self._size:
            self._differences.popitem(last=False)
        return names

    def versions(self, layer: ResourceSet, type_url: str) -> Mapping[str, str]:
        """The version of each resource of one type in a layer."""
        key = (id(layer), type_url)
        known = self._versions.get(key)
        if known is None:
            found = {name: resource.version for name, resource in layer.of_type(type_url).items()}
            known = self._versions[key] = (layer, found)
            if len(self._versions) > self._size:
                self._versions.popitem(last=False)
        return known[1]

    def whole_type(self, snapshot: XdsSnapshot, type_url: str) -> tuple[str, bytes]:
        """Version and framed resources of everything of one type, for state-of-the-world responses."""
        key = tuple(map(id, snapshot.layers))
        entry = self._bodies.get(key)
        if entry is None:
            entry = self._bodies[key] = (snapshot.layers, {})
            if len(self._bodies) > 16:
                self._bodies.popitem(last=False)
        known = entry[1].get(type_url)
        if known is None:
            resources = sorted(snapshot.of_type(type_url), key=lambda resource: resource.name)
            version = combined_version((resource.name, resource.version) for resource in resources)
            known = entry[1][type_url] = (version, framed_resources(resource.any_bytes for resource in resources))
        return known

    def names(self, names: frozenset[str]) -> frozenset[str]:
        """An equal set that other streams may hold already: a thousand proxies that subscribe alike hold one set."""
        if not names:
            return frozenset()
        known = self._names.get(hash(names))
        if known is not None and known == names:
            return known
        self._names[hash(names)] = names
        return names


def combined_version(parts: Iterable[tuple[str, str]]) -> str:
    """One version for several resources, given as sorted (name, version) pairs."""
    digest = hashlib.blake2b(digest_size=8)
    for name, version in parts:
        digest.update(f"{name}\0{version}\0".encode())
    return digest.hexdigest()
