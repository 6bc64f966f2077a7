"""The collector: merges all sources into one ConfigSnapshot, with a short hold-off and a longest hold-off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from weft.aio.cell import Cell
from weft.aio.holdoff import HoldOff
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.sources.contents import Contents, Source, merged_documents

QUIET_SECONDS = 0.010
LONGEST_SECONDS = 0.100


@dataclass(frozen=True, slots=True)
class Collected:
    """A snapshot and the store revision it includes. Revision 0 means that not every source has been read yet."""

    snapshot: ConfigSnapshot
    store_revision: int


class Collector:
    """Owns the current ConfigSnapshot. Of two documents with one key the earlier source's stays in force."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: MeshSettings,
        *,
        quiet: float = QUIET_SECONDS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._sources = tuple(sources)
        self._hold = HoldOff(quiet, longest)
        self._collected = Cell(Collected(ConfigSnapshot(0, settings=settings), -1))

    @property
    def collected(self) -> Cell[Collected]:
        """The current snapshot with its store revision."""
        return self._collected

    @property
    def snapshot(self) -> ConfigSnapshot:
        """The current snapshot."""
        return self._collected.value.snapshot

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
            revisions = [one.store_revision for one in ready if one.store_revision is not None]
            collected = Collected(_merged(self.snapshot, ready), min(revisions, default=0))
            if collected != self._collected.value:
                self._collected.set(collected)


def _merged(before: ConfigSnapshot, contents: Sequence[Contents]) -> ConfigSnapshot:
    """The merged snapshot; `before` itself if nothing changed."""
    winners, duplicates = merged_documents(one.documents for one in contents)
    documents = tuple(document for _, document in sorted(winners.items()))
    workloads = tuple(workload for one in contents for workload in one.workloads)
    problems = tuple(problem for one in contents for problem in one.problems) + duplicates
    same = (before.documents, before.workloads, before.problems) == (documents, workloads, problems)
    if same and before.revision > 0:
        return before
    return ConfigSnapshot(before.revision + 1, documents, workloads, problems, before.settings)
