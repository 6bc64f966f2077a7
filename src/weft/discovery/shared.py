"""What streams share: differences between layers, batches, whole responses, and sets of subscribed names. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from itertools import zip_longest
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from weft.discovery.subscription import Batch
from weft.discovery.wire import framed_resources
from weft.xds.services.names import service_part
from weft.xds.snapshot import CLUSTER, ENDPOINTS, Resource, ResourceSet, XdsSnapshot

_EMPTY = ResourceSet()
_NOBODY: frozenset[str] = frozenset()
_NO_CHANGES: Mapping[str, Touched] = {}
LARGE_BODY = 32 << 10
"""Responses of at least so many bytes are kept, because other streams are likely to be sent the very same."""
_REMEMBERED = 16_384
_NAMES = 1_000_000
_BODIES = 16
"""Bounds: what is asked for, and under how many names, is up to clients."""
ResultT = TypeVar("ResultT")


class Touched(NamedTuple):
    """Names of one type that were added, changed, removed, or moved between layers: in layers that every subscriber of
    the type is given, and in those that are on demand."""

    eager: frozenset[str]
    on_demand: frozenset[str]


class Shared:
    """Computed once for all streams, keyed by the identity of frozen values, which are kept as long as the key.

    `published` ends a publication: differences from earlier layers, and what was made of those, are useless then.
    """

    def __init__(self, response_bytes: int = 1 << 20) -> None:
        self._response_bytes = response_bytes
        self._known: dict[Hashable, tuple[object, object]] = {}
        self._known_names = 0
        self._bodies: dict[Hashable, tuple[object, bytes]] = {}
        self._names: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    def published(self) -> None:
        """Forget what no longer helps."""
        self._known, self._known_names = {}, 0
        self._bodies = {}

    def forget_bodies(self) -> None:
        """Forget whole responses: nobody is being sent any."""
        self._bodies = {}

    def changes(self, old: XdsSnapshot, new: XdsSnapshot) -> Mapping[str, Touched]:
        """What differs between two snapshots, by type. Layers that are the same are not looked at."""
        found: Mapping[str, Touched] = _NO_CHANGES
        if old.layers is not new.layers:
            for before, after in zip_longest(old.layers, new.layers, fillvalue=_EMPTY):
                if before is not after:
                    difference = self._difference(before, after)
                    found = _united(found, difference) if found else difference
        return found

    def _difference(self, before: ResourceSet, after: ResourceSet) -> Mapping[str, Touched]:
        def compute() -> Mapping[str, Touched]:
            kinds = before.by_type.keys() | after.by_type.keys()
            named = {kind: _changed_names(before, after, kind) for kind in kinds}
            on_demand = before.on_demand and after.on_demand
            return {
                kind: Touched(_NOBODY, names) if on_demand else Touched(names, _NOBODY)
                for kind, names in named.items()
                if names
            }

        return self._once((id(before), id(after)), (before, after), compute)

    def versions(self, layer: ResourceSet, type_url: str) -> Mapping[str, str]:
        """The version of each resource of one type in a layer."""
        return self._once(
            (id(layer), type_url, "versions"),
            layer,
            lambda: {name: resource.version for name, resource in layer.of_type(type_url).items()},
        )

    def by_service(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Names of clusters, under what those of one port of a service have in common."""

        def compute() -> Mapping[str, frozenset[str]]:
            found: dict[str, list[str]] = {}
            for name in names:
                found.setdefault(service_part(name), []).append(name)
            return {service: frozenset(each) for service, each in found.items()}

        return self._once((id(names), "by service"), names, compute)

    def batches(
        self, index: int, layer: ResourceSet, type_url: str, names: frozenset[str] | None = None
    ) -> tuple[Batch, ...]:
        """The resources of one type in a layer (of them, those called `names`), in batches that fit into a response.
        `index` is the place of the layer in snapshots. The same values for every stream that asks alike."""
        return self._once(
            (index, id(layer), type_url, None if names is None else id(names)),
            (layer, names),
            lambda: tuple(self._cut(index, layer, type_url, names)),
            len(names or ()),
        )

    def _cut(self, index: int, layer: ResourceSet, type_url: str, names: frozenset[str] | None) -> Iterable[Batch]:
        named = layer.of_type(type_url)
        chosen: dict[str, Resource] = {}
        size = 0
        for name in sorted(named if names is None else names & named.keys()):
            length = len(named[name].delta_bytes)
            if chosen and size + length > self._response_bytes:
                yield Batch(index, layer.on_demand, chosen, frozenset(chosen), size)
                chosen, size = {}, 0
            chosen[name] = named[name]
            size += length
        if chosen:
            yield Batch(index, layer.on_demand, chosen, frozenset(chosen), size)

    def required(self, resource: Resource, type_url: str) -> frozenset[str]:
        """Names of one type that a resource refers to. A cluster without any refers to endpoints of its own name."""
        if resource.type_url == CLUSTER:
            names = frozenset([name for kind, name in resource.requires if kind == type_url])
            return names or frozenset((resource.name,)) if type_url == ENDPOINTS else names
        return self._once(
            (id(resource), type_url),
            resource,
            lambda: frozenset([name for kind, name in resource.requires if kind == type_url]),
        )

    def body(self, key: tuple[Hashable, ...], parts: tuple[object, ...], size: int, make: Callable[[], bytes]) -> bytes:
        """An encoded response of about `size` bytes, which `key` and the identity of `parts` determine."""
        if size < LARGE_BODY:
            return make()
        whole = (*key, *map(id, parts))
        known = self._bodies.get(whole)
        if known is None:
            if len(self._bodies) >= _BODIES:
                del self._bodies[next(iter(self._bodies))]
            known = self._bodies[whole] = (parts, make())
        return known[1]

    def whole_type(self, snapshot: XdsSnapshot, type_url: str) -> tuple[str, bytes]:
        """Version and framed resources of everything of one type, for state-of-the-world responses."""

        def compute() -> tuple[str, bytes]:
            resources = sorted(snapshot.of_type(type_url), key=lambda resource: resource.name)
            version = combined_version((resource.name, resource.version) for resource in resources)
            return version, framed_resources(resource.any_bytes for resource in resources)

        return self._once((*map(id, snapshot.layers), type_url, "whole"), snapshot.layers, compute)

    def names(self, names: frozenset[str]) -> frozenset[str]:
        """An equal set that other streams may hold already: a thousand proxies that subscribe alike hold one set."""
        if not names:
            return _NOBODY
        known = self._names.get(hash(names))
        if known is not None and known == names:
            return known
        self._names[hash(names)] = names
        return names

    def _once(self, key: Hashable, kept: object, compute: Callable[[], ResultT], names: int = 0) -> ResultT:
        """`names` is how many of them a client gave."""
        known = self._known.get(key)
        if known is None:
            self._known_names += names
            if len(self._known) >= _REMEMBERED or self._known_names > _NAMES:
                self._known, self._known_names = {}, names
            known = self._known[key] = (kept, compute())
        result: ResultT = known[1]  # type: ignore[assignment]
        return result


def _changed_names(before: ResourceSet, after: ResourceSet, type_url: str) -> frozenset[str]:
    old, new = before.of_type(type_url), after.of_type(type_url)
    if before.on_demand != after.on_demand:
        return frozenset([*old, *new])
    if old is new:
        return _NOBODY
    changed = [name for name, resource in new.items() if old.get(name) is not resource]
    return frozenset([*changed, *(name for name in old if name not in new)])


def _united(one: Mapping[str, Touched], other: Mapping[str, Touched]) -> Mapping[str, Touched]:
    united = dict(one)
    for kind, (eager, on_demand) in other.items():
        mine = united.get(kind, Touched(_NOBODY, _NOBODY))
        united[kind] = Touched(mine.eager | eager, mine.on_demand | on_demand)
    return united


def combined_version(parts: Iterable[tuple[str, str]]) -> str:
    """One version for several resources, given as sorted (name, version) pairs."""
    digest = hashlib.blake2b(digest_size=8)
    for name, version in parts:
        digest.update(f"{name}\0{version}\0".encode())
    return digest.hexdigest()
