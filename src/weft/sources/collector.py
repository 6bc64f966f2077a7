"""The collector: merges all sources into one ConfigSnapshot, with a short hold-off and a longest hold-off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from weft.aio.cell import Cell
from weft.aio.holdoff import HoldOff
from weft.model.bundles import ForeignBundle
from weft.model.distrust import Distrust
from weft.model.document import Document, ObjectKey
from weft.model.instance import Instance
from weft.model.jwks import KeySet
from weft.model.names import Assigned
from weft.model.openid import OpenIdEndpoints
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.trials import Trial
from weft.model.workload import Workload
from weft.sources.contents import Contents, Source, merged_documents
from weft.sources.pods import Admitted, admitted

QUIET_SECONDS = 0.010
LONGEST_SECONDS = 0.100


@dataclass(frozen=True, slots=True)
class Collected:
    """A snapshot and the store revision it includes. Revision 0 means that not every source has been read yet."""

    snapshot: ConfigSnapshot
    store_revision: int


class Collector:
    """Owns the current ConfigSnapshot. Of two documents with one key the earlier source's stays in force.

    A snapshot that `admits` says no to is not published; the source behind it has new contents when it may say yes.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        settings: MeshSettings,
        *,
        quiet: float = QUIET_SECONDS,
        longest: float = LONGEST_SECONDS,
        admits: Callable[[ConfigSnapshot], bool] = lambda _: True,
    ) -> None:
        self._sources = tuple(sources)
        self._hold = HoldOff(quiet, longest)
        self._merged = _Merged()
        self._settings = settings
        self._admits = admits
        self._collected = Cell(Collected(ConfigSnapshot(0, settings=settings), -1))

    @property
    def collected(self) -> Cell[Collected]:
        """The current snapshot with its store revision."""
        return self._collected

    @property
    def sources(self) -> tuple[Source, ...]:
        """All of them."""
        return self._sources

    @property
    def snapshot(self) -> ConfigSnapshot:
        """The current snapshot."""
        return self._collected.value.snapshot

    def workload(self, proxy: str) -> Workload | None:
        """The registered workload of a proxy: known when `included` returns for its registration."""
        return self.snapshot.workload(proxy)

    def pod(self, proxy: str) -> Workload | None:
        """The Pod of a proxy, also while it is left out of the snapshot; see `weft.sources.pods`."""
        found = self._merged.admitted.left_out.get(proxy) or self.snapshot.workload(proxy)
        return found if found is not None and found.pod else None

    def settle(self, settings: MeshSettings) -> None:
        """From the next snapshot on, which is made soon, these are the settings."""
        self._settings = settings
        self._hold.poke()

    async def run(self) -> None:
        """Run the sources and merge for ever."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run())
                group.create_task(self._watch(source.contents))
            group.create_task(self._merge())

    async def included(self, store_revision: int) -> int:
        """Wait until the snapshot includes `store_revision` of the store; returns the snapshot's revision."""
        while self._collected.value.store_revision < store_revision:
            await self._collected.changed(self._collected.version)
        return self.snapshot.revision

    async def _watch(self, contents: Cell[Contents | None]) -> None:
        version = 0
        while True:
            version = await contents.changed(version)
            self._hold.poke()

    async def _merge(self) -> None:
        while True:
            await self._hold.wait()
            everything = [source.contents.value for source in self._sources]
            ready = [contents for contents in everything if contents is not None]
            if len(ready) < len(everything):
                continue  # a snapshot without one of its sources would take configuration away
            views = [one.view for one in ready if one.view is not None]
            if len(set(views)) > 1:
                continue  # one of the sources is about to follow
            revisions = [one.store_revision for one in ready if one.store_revision is not None]
            store_revision = min(revisions, default=0)
            distrusted = next((one.distrusted for one in ready if one.distrusted), ())
            self._merged = _merge(self._merged, ready, distrusted)
            told = (*self._merged.duplicates, *self._merged.admitted.problems)
            problems = (*(problem for one in ready for problem in one.problems), *told)
            endpoints = tuple(each for one in ready for each in one.endpoints)
            trials = tuple(each for one in ready for each in one.trials)
            found = (endpoints, self._settings, distrusted, trials)
            assigned = next((one.assigned for one in ready if one.assigned), ())
            sick = next((one.sick for one in ready if one.sick), ())
            out = views[0].left_out if views else frozenset()
            snapshot = _snapshot(self.snapshot, self._merged, problems, *found, assigned, sick, out)
            if snapshot is not self.snapshot and not self._admits(snapshot):
                continue
            if snapshot is not self.snapshot or store_revision != self._collected.value.store_revision:
                self._collected.set(Collected(snapshot, store_revision))


@dataclass(frozen=True, slots=True)
class _Merged:
    """What the sources' documents and workloads were merged to, and the very tuples they came from."""

    document_groups: tuple[tuple[Document[object], ...], ...] = ()
    yielding: tuple[tuple[Document[object], ...], ...] = ()
    workload_groups: tuple[tuple[Workload, ...], ...] = ()
    documents: tuple[Document[object], ...] = ()
    duplicates: tuple[Problem, ...] = ()
    admitted: Admitted = field(default_factory=Admitted)
    distrusted: tuple[Distrust, ...] = ()
    keys: tuple[KeySet, ...] = ()
    bundles: tuple[ForeignBundle, ...] = ()
    instances: tuple[Instance, ...] = ()

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """Those that the snapshot has."""
        return self.admitted.workloads


def _merge(before: _Merged, contents: Sequence[Contents], distrusted: tuple[Distrust, ...]) -> _Merged:
    """Sources put together. What is the same object as before is not looked at again."""
    document_groups = tuple(one.documents for one in contents if one.documents and not one.yields)
    yielding = tuple(one.documents for one in contents if one.documents and one.yields)
    workload_groups = tuple(one.workloads for one in contents if one.workloads)
    documents, duplicates, workloads = before.documents, before.duplicates, before.admitted
    if not _same((*document_groups, (), *yielding), (*before.document_groups, (), *before.yielding)):
        documents, duplicates = _merged_documents(document_groups, yielding)
    same = _same(workload_groups, before.workload_groups) and distrusted == before.distrusted
    if not same or (documents is not before.documents and _has_gateways(workload_groups)):
        found = admitted(workload_groups, distrusted, documents)
        workloads = workloads if _same_pods(found, workloads) else found
    keys = tuple(key for one in contents for key in one.keys)
    bundles = next((one.bundles for one in contents if one.bundles), ())
    instances = next((one.instances for one in contents if one.instances), ())
    groups = (document_groups, yielding, workload_groups)
    return _Merged(*groups, documents, duplicates, workloads, distrusted, keys, bundles, instances)


def _has_gateways(groups: Iterable[tuple[Workload, ...]]) -> bool:
    """Whether there are Pods of which the class of a Gateway says what they are."""
    return any(each.gateway is not None and each.pod for group in groups for each in group)


def _same_pods(found: Admitted, before: Admitted) -> bool:
    """Whether the very same workloads are admitted, with the same words: then the tuple of before is kept."""
    same = _same(found.workloads, before.workloads) and found.left_out.keys() == before.left_out.keys()
    return (
        same
        and found.problems == before.problems
        and all(before.left_out[name] is pod for name, pod in found.left_out.items())
    )


def _merged_documents(
    groups: Sequence[tuple[Document[object], ...]], yielding: Sequence[tuple[Document[object], ...]]
) -> tuple[tuple[Document[object], ...], tuple[Problem, ...]]:
    if len(groups) + len(yielding) < 2:
        return next(iter((*groups, *yielding)), ()), ()
    winners, duplicates = merged_documents(groups)
    everything = dict(winners)
    for group in yielding:
        for document in group:
            everything.setdefault(document.key, document)
    return tuple(document for _, document in sorted(everything.items())), duplicates


def _same(first: Sequence[object], second: Sequence[object]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def _snapshot(
    before: ConfigSnapshot,
    merged: _Merged,
    problems: tuple[Problem, ...],
    endpoints: tuple[OpenIdEndpoints, ...],
    settings: MeshSettings,
    distrusted: tuple[Distrust, ...],
    trials: tuple[Trial, ...],
    assigned: tuple[Assigned, ...],
    sick: tuple[ObjectKey, ...],
    left_out: frozenset[str],
) -> ConfigSnapshot:
    """The next snapshot; `before` itself if nothing changed."""
    same = merged.documents is before.documents and merged.workloads is before.workloads and settings is before.settings
    keys = before.keys if merged.keys == before.keys else merged.keys
    found = before.endpoints if endpoints == before.endpoints else endpoints
    bundles = before.bundles if merged.bundles == before.bundles else merged.bundles
    ends = before.distrusted if distrusted == before.distrusted else distrusted
    same = same and keys is before.keys and found is before.endpoints
    tried = before.trials if trials == before.trials else trials
    same = same and bundles is before.bundles and ends is before.distrusted and tried is before.trials
    numbers = before.assigned if assigned == before.assigned else assigned
    ill = before.sick if sick == before.sick else sick
    out = before.left_out if left_out == before.left_out else left_out
    same = same and numbers is before.assigned and ill is before.sick and merged.instances is before.instances
    same = same and out is before.left_out
    if same and problems == before.problems and before.revision > 0:
        return before
    number, documents, workloads = before.revision + 1, merged.documents, merged.workloads
    rest = (keys, found, bundles, ends, tried, numbers, ill, merged.instances, out)
    return ConfigSnapshot(number, documents, workloads, problems, settings, *rest)
