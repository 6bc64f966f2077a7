"""The recorder: writes down every revision of the documents once it is in force, and what came of it at the proxies.

It is told of publications by the build loop and does everything else in a task of its own: what cannot be written
waits and is told as a Problem, and the configuration is in force all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from weft.admin.history.drafts import Documents, Publication, build_drafts
from weft.admin.history.notes import Notes
from weft.admin.history.outcomes import STEPS, Wait, follow_outcome
from weft.admin.history.record import Outcome, Record
from weft.admin.history.resources import Watch, resource_changes
from weft.admin.history.shelf import Shelf
from weft.aio.cell import Cell
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.store.protocol import ConflictError, Store, StoreError

_QUEUE = 100
_FOLLOWED = 32
"""Revisions whose confirmations are followed at the same time."""
_NUMBERS = 100
"""Writes of which it is known which revision they have become."""
_RETRY_SECONDS = 2.0
_WRITING_SECONDS = 1.0
_LAST_SECONDS = 2.0
_log = logging.getLogger("weft.history")


class Recorder:
    """See the module. `wait` is the hub's `wait_revision`, `in_files` gives the objects that followed files have. Of
    several control planes that have the same store the one that `leads` writes, and another one that comes to lead goes
    on with what is missing."""

    def __init__(
        self,
        store: Store,
        watch: Watch,
        wait: Wait,
        in_files: Callable[[], Collection[ObjectKey]] = frozenset,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.shelf = Shelf(store)
        self.notes = Notes()
        self._watch = watch
        self._wait = wait
        self._in_files = in_files
        self._leads = leads
        self._clock = clock
        self._documents: Documents | None = None
        self._begun = 0.0
        self._queue: deque[Publication] = deque()
        self._wake = asyncio.Event()
        self._numbers: Cell[Mapping[int, int]] = Cell({})
        self._secret = b""
        self._error = ""
        self._followers: set[asyncio.Future[Any]] = set()
        self._held: Publication | None = None

    # the build loop

    def begin(self, documents: Documents) -> None:
        """A snapshot is taken up: if its documents are others, what that changes at proxies is noted."""
        if documents is not self._documents:
            self._watch.on = True
            self._begun = time.monotonic()

    def published(self, documents: Documents, revision: int, store_revision: int) -> None:
        """It is published, or could not be built. Returns at once."""
        same = documents is self._documents
        watched = self._watch.taken()
        if same and not self.notes.due(store_revision):
            return
        if len(self._queue) >= _QUEUE:
            return  # the next one that is taken has what changed since the last
        begun = time.monotonic() if same else self._begun
        before, self._documents = self._documents, documents
        first = asyncio.ensure_future(self._wait(revision, STEPS[0]))
        self._kept(first)
        now = self._clock()
        self._queue.append(Publication(before, documents, revision, store_revision, watched, begun, now, first))
        self._wake.set()

    # questions

    def problems(self) -> tuple[Problem, ...]:
        """What keeps revisions from being written."""
        if not self._error:
            return ()
        count = max(1, len(self._queue))
        what = "1 revision is" if count == 1 else f"{count} revisions are"
        text = f"{what} in force, but not written to the history yet: {self._error}"
        expected = "a store that can be written"
        return (Problem(Severity.WARNING, "history-not-written", text, Origin("store"), expected=expected),)

    async def recorded(self, store_revision: int, timeout: float) -> int | None:
        """The revision of the history that a write of the admin API has become; None: not within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while store_revision not in self._numbers.value:
                    await self._numbers.changed(self._numbers.version)
        return self._numbers.value.get(store_revision)

    async def hash_key(self) -> bytes:
        """The key of the hashes of what is kept."""
        self._secret = self._secret or await self.shelf.hash_key()
        return self._secret

    # its own task

    async def run(self) -> None:
        """Write for ever. What is published when it is cancelled is still written, if the store takes it, and if it is
        this one that writes."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS if self._held is not None else None):
                        await self._wake.wait()
                self._wake.clear()
                if self._held is not None and self._leads() and not self._queue:
                    self._queue.append(self._held)
                while self._queue:
                    publication = self._queue.popleft()
                    if self._is_anothers(publication):
                        continue
                    if not await self._is_done(publication):
                        self._queue.appendleft(publication)
                        await asyncio.sleep(_RETRY_SECONDS)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    while self._queue and self._leads() and await self._is_done(self._queue.popleft()):
                        pass
            going = tuple(self._followers)
            for future in going:
                future.cancel()
            await asyncio.gather(*going, return_exceptions=True)

    def _is_anothers(self, publication: Publication) -> bool:
        """Whether another control plane writes it down. If that ends before it has, it is written later."""
        held, self._held = self._held, None
        if held is not None:
            publication.behind = True
            publication.before = publication.before if held.before is not None else None
        if not self._leads():
            self._held = publication
        return self._held is not None

    async def _is_done(self, publication: Publication) -> bool:
        """Write a publication down, or hold it. False: the store does not take it now."""
        try:
            await self._write(publication)
        except ConflictError:  # another one, which led before, has just written: perhaps the same
            publication.drafts, self._held = None, publication
            return True
        except StoreError as error:
            if not self._error:
                _log.warning("the history cannot be written, trying again: %s", error)
            self._error = str(error)
            return False
        except Exception:  # the history must not end the control plane
            _log.exception("revision %d is not in the history", publication.revision)
        self._error = ""
        return True

    async def _write(self, publication: Publication) -> None:
        if publication.notes is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITING_SECONDS):  # who writes may not have come round to say so yet
                    await self.notes.settled.wait()
            publication.notes = list(self.notes.take(publication.store_revision))
        if publication.drafts is None:
            secret = await self.hash_key()
            owned = self._in_files()
            if publication.behind or publication.before is None:
                await self.shelf.catch_up()
            publication.drafts = await build_drafts(publication, publication.notes, self.shelf, secret, owned)
        while publication.drafts:
            draft = publication.drafts[0]
            written = await self.shelf.add(draft.record, draft.versions, draft.heads)
            publication.written.append(written)
            publication.drafts.pop(0)
            publication.notes = publication.notes[1:]  # theirs come first
            known = list(self._numbers.value.items())[-_NUMBERS:]
            self._numbers.set(dict([*known, (written.store_revision, written.revision)]))
        if publication.written:
            *others, last = publication.written
            for record in others:
                await self.shelf.settle(record, Outcome(together_with=last.revision, final=True))
            await self._follow(last, publication)

    async def _follow(self, record: Record, publication: Publication) -> None:
        """Find out what a revision did to proxies, while others are written."""
        if len(self._followers) >= 2 * _FOLLOWED:
            await self.shelf.settle(record, Outcome(final=True))
            return
        self._kept(asyncio.create_task(self._outcome(record, publication)))

    def _kept(self, future: asyncio.Future[Any]) -> None:
        """Something that goes on beside, until it is done or we end."""
        self._followers.add(future)
        future.add_done_callback(self._followers.discard)

    async def _outcome(self, record: Record, publication: Publication) -> None:
        latest = record

        async def write(outcome: Outcome) -> None:
            nonlocal latest
            latest = await self.shelf.settle(latest, outcome)

        try:
            resources = await asyncio.to_thread(resource_changes, publication.watched)
            publication.watched = {}
            if resources.groups:
                latest = await self.shelf.add_resources(latest, resources)
            first = publication.first or self._wait(publication.revision, STEPS[0])
            await follow_outcome(publication.revision, publication.begun, first, self._wait, write)
        except StoreError as error:
            _log.warning("what came of revision %d is not in the history: %s", record.revision, error)
        except Exception:
            _log.exception("what came of revision %d is not in the history", record.revision)
