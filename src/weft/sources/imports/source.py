"""An import as a source: follows one registry, keeps its last good answer through outages and restarts, and tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from weft.aio.cell import Cell
from weft.model.instants import instant
from weft.model.origin import Origin
from weft.model.printable import printable
from weft.model.problem import Problem, Severity
from weft.sources.contents import Contents
from weft.sources.imports.blocking import BlockingRegistry
from weft.sources.imports.catalogue import Catalogue, ImportReadError, Registry
from weft.sources.imports.consul import Consul
from weft.sources.imports.documents import DocumentBuilder, ImportedDocuments
from weft.sources.imports.instances_file import FileRegistry
from weft.sources.imports.nomad import Nomad
from weft.sources.imports.settings import ImportSettings
from weft.store.protocol import Put, Store, StoreError

BUCKET = "imports"
_log = logging.getLogger("weft.imports")
_MOST_TOLD = 20
"""Of what was left out; of the rest the number is."""
_QUIET_SECONDS = 60.0
"""After so long without an error the next outage is tried again at once."""


class Listener(Protocol):
    """Who is told what becomes of imports."""

    def read(self, name: str, services: int, instances: int) -> None:
        """It was read: so much there is now."""

    def failed(self, name: str, error: str, *, first: bool) -> None:
        """It could not be read; `first` since it could."""

    def recovered(self, name: str) -> None:
        """It could be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds: between tries, at first and at most; how long the first answer is waited for before it is said
    that there is none; how long a registry that has lost everything must stay so to be believed; between writes."""

    retry: float = 1.0
    longest_retry: float = 30.0
    first_answer: float = 3.0
    believe_empty: float = 10.0
    keep_every: float = 2.0


class ImportSource:
    """One import. `contents` are its documents, which stand back behind others of the same key."""

    def __init__(
        self,
        settings: ImportSettings,
        store: Store,
        listener: Listener | None = None,
        *,
        pace: Pace = Pace(),
        registry: Registry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._listener = listener
        self._pace = pace
        self._registry = registry or registry_of(settings)
        self._clock = clock
        self._contents: Cell[Contents | None] = Cell(None)
        self._builder = DocumentBuilder(settings)
        self._catalogue: Catalogue | None = None
        self._built = ImportedDocuments()
        self._error = ""
        self._since = clock()
        self._answered = asyncio.Event()
        self._unkept = asyncio.Event()
        self._unbuilt: Cell[Catalogue | None] = Cell(None)
        self._emptied: asyncio.TimerHandle | None = None
        self._last_read = 0.0

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Follow for ever."""
        await self._load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._build())
                group.create_task(self._keep())
                group.create_task(self._begin())
        finally:
            self._doubt_no_more()

    async def _load(self) -> None:
        """What was read before this start, which is in force until the registry has answered."""
        with contextlib.suppress(StoreError, msgspec.MsgspecError):
            entry = await self._store.get(BUCKET, self._settings.name)
            if entry is not None:
                self._catalogue = msgspec.json.decode(entry.value, type=Catalogue)
                self._built = self._builder.build(self._catalogue)
                self._publish()

    async def _begin(self) -> None:
        """A mesh does not wait for a registry that does not answer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), self._pace.first_answer)
        if self._contents.value is None:
            self._publish()

    async def _follow(self) -> None:
        wait = self._pace.retry
        while True:
            self._last_read = 0.0
            try:
                await self._registry.follow(self._read)
            except ImportReadError as error:
                self._fail(str(error))
            except Exception as error:  # whatever a registry may say, the mesh goes on
                _log.exception("%s: unexpected", self._settings.title)
                self._fail(f"weft cannot read this ({type(error).__name__}); please report it")
            if self._last_read and time.monotonic() - self._last_read > _QUIET_SECONDS:
                wait = self._pace.retry
            await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311
            wait = self._pace.retry if self._last_read else min(wait * 2, self._pace.longest_retry)

    def _read(self, catalogue: Catalogue) -> None:
        """The registry has said what it holds."""
        self._last_read = time.monotonic()
        if self._error:
            _log.info("%s can be read again", self._settings.title)
            self._error = ""
            if self._listener is not None:
                self._listener.recovered(self._settings.name)
        if _is_empty(catalogue) and self._catalogue is not None and not _is_empty(self._catalogue):
            if self._emptied is None:
                delay = self._pace.believe_empty
                self._emptied = asyncio.get_running_loop().call_later(delay, self._take, catalogue)
            self._publish()
            return
        self._doubt_no_more()
        self._take(catalogue)

    def _doubt_no_more(self) -> None:
        if self._emptied is not None:
            self._emptied.cancel()
            self._emptied = None

    def _take(self, catalogue: Catalogue) -> None:
        self._emptied = None
        self._unbuilt.set(catalogue)

    async def _build(self) -> None:
        """Make documents of what was read last, in a thread: there may be thousands."""
        version = 0
        while True:
            version = await self._unbuilt.changed(version)
            catalogue = self._unbuilt.value
            if catalogue is None:
                continue
            if catalogue != self._catalogue:
                try:
                    self._built = await asyncio.to_thread(self._builder.build, catalogue)
                except Exception as error:  # whatever a registry may say, the mesh goes on
                    _log.exception("%s: unexpected", self._settings.title)
                    self._fail(f"weft cannot use this ({type(error).__name__}); please report it")
                    continue
                self._catalogue = catalogue
                self._unkept.set()
            if self._listener is not None:
                self._listener.read(self._settings.name, len(catalogue), self._built.instances)
            self._answered.set()
            self._publish()

    def _fail(self, error: str) -> None:
        error = printable(error[:300])
        first = not self._error
        if first:
            self._since = self._clock()
            _log.warning("%s cannot be read: %s", self._settings.title, error)
        self._doubt_no_more()  # what ends in an outage was no answer
        self._error = error
        if self._listener is not None:
            self._listener.failed(self._settings.name, error, first=first)
        if self._contents.value is not None:
            self._publish()

    def _publish(self) -> None:
        before = self._contents.value
        documents = self._built.documents
        if before is not None and documents == before.documents:
            documents = before.documents
        contents = Contents(documents, problems=tuple(self._problems()), yields=True)
        if contents != before:
            self._contents.set(contents)

    def _problems(self) -> list[Problem]:
        settings, found = self._settings, []
        where = f"{settings.kind} at {settings.address}"
        if self._error:
            since = instant(self._since)
            text = f"{where} cannot be read since {since}: {self._error}"
            if self._catalogue is not None:
                found.append(self._problem("import-outdated", f"{text}; what was read last stays in force"))
            else:
                found.append(self._problem("import-unread", f"{text}; it was never read", Severity.ERROR))
        if self._emptied is not None:
            found.append(
                self._problem("import-outdated", f"{where} says that it holds nothing any more; not believed yet")
            )
        left_out = self._built.left_out
        found += [self._problem("import-left-out", printable(text)) for text in left_out[:_MOST_TOLD]]
        if len(left_out) > _MOST_TOLD:
            found.append(self._problem("import-left-out", f"{len(left_out) - _MOST_TOLD} more were left out"))
        return found

    def _problem(self, code: str, message: str, severity: Severity = Severity.WARNING) -> Problem:
        return Problem(severity, code, message, Origin(self._settings.title))

    async def _keep(self) -> None:
        """Keep what was read for the next start, not more often than the pace says."""
        while True:
            await self._unkept.wait()
            self._unkept.clear()
            if self._catalogue is not None:
                value = msgspec.json.encode(self._catalogue)
                try:
                    await self._store.write([Put(BUCKET, self._settings.name, value)])
                except StoreError:
                    self._unkept.set()
            await asyncio.sleep(self._pace.keep_every)


def _is_empty(catalogue: Catalogue) -> bool:
    return not any(service.instances for service in catalogue)


def registry_of(settings: ImportSettings) -> Registry:
    """The registry that settings mean."""
    if settings.kind == "file":
        return FileRegistry(settings)
    if settings.kind == "dns":
        from weft.sources.imports.dns_srv import DnsRegistry  # noqa: PLC0415 - its library costs 2 MB, and few import so

        return DnsRegistry(settings)
    return BlockingRegistry(settings, Consul() if settings.kind == "consul" else Nomad())
