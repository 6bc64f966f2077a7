"""SharedStore: the Store protocol over a log in a repository, with everything in memory. Reads ask nobody.

One task reads and writes the log. What is asked for meanwhile is written together. A write whose answer is lost is
looked for until its deadline; only if the repository stays away that long, it may have been done though StoreError says
that it cannot be confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from weft.aio.backoff import Backoff
from weft.aio.cell import Cell
from weft.store.memory import KEEP_REVISIONS, chosen_leases, wait_revision
from weft.store.protocol import Change, Entry, StoreError
from weft.store.shared.log import USUAL, SharedLog, Sizes
from weft.store.shared.records import Everything
from weft.store.shared.repository import HeldHead, Repository, RepositoryError
from weft.store.shared.state import Draft, State

ResultT = TypeVar("ResultT")
DEADLINE_SECONDS = 10.0
"""Of one write: so long it is looked for, and tried again where others are faster."""
_TOGETHER = 200
"""So many requests are written at once."""
_MOST_WAITING = 10_000
_LOOK_SECONDS = 5.0
_TRIES = 10
_SHORTEN_AGAIN_SECONDS = 60.0
_log = logging.getLogger("weft.store")


@dataclass(frozen=True, slots=True)
class _Request(Generic[ResultT]):
    """What somebody waits for: `judge` adds to the draft, and gives what tells the result once that is written."""

    judge: Callable[[Draft], Callable[[], ResultT]]
    done: asyncio.Future[ResultT] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class _Judged:
    """Requests, what is to be written for them, and what tells each what came of it."""

    draft: Draft
    requests: Sequence[_Request[Any]]
    answers: Sequence[Callable[[], Any] | StoreError]

    @property
    def ids(self) -> set[str]:
        """Of the batches."""
        return {batch.id for batch in self.draft.batches}


@dataclass(frozen=True, slots=True)
class _Made:
    """A snapshot that was kept under `names`, and who waits until it is in its place."""

    snapshot: Everything
    names: tuple[str, ...]
    done: asyncio.Future[None]


Sent = list[_Judged]
"""What was written without an answer."""


class SharedStore:
    """See `weft.store.protocol.Store` and the module. `replica` is unique among those that run, and before."""

    def __init__(
        self,
        repository: Repository,
        replica: str,
        clock: Callable[[], float] = time.time,
        keep: int = KEEP_REVISIONS,
        sizes: Sizes = USUAL,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._log = SharedLog(repository, lambda: State(replica, keep), sizes)
        self._repository = repository
        self._revision = Cell(0)
        self._requests: deque[_Request[Any]] = deque()
        self._news: HeldHead | None = None
        self._wake = asyncio.Event()
        self._ending: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self._shortening: asyncio.Task[None] | None = None
        self._made: deque[_Made] = deque()
        self._told = self._log.state
        self._closed = False

    async def open(self) -> None:
        """Read everything, and follow it from now on. StoreError."""
        try:
            await self._log.open()
        except RepositoryError as error:
            raise StoreError(f"{self._repository.name}: {error}") from error
        self._tell()
        self._tasks = [asyncio.create_task(each) for each in (self._work(), self._watch())]

    # reading

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""
        return self._state.entries.get((bucket, key))

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        found = (self._state.entries.get((bucket, key)) for key in sorted(set(keys)))
        return self._state.revision, tuple(entry for entry in found if entry is not None)

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        found = [entry for place, entry in self._state.entries.items() if place[0] == bucket]
        return self._state.revision, tuple(sorted(found, key=lambda entry: entry.key))

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        """See the protocol."""
        await wait_revision(self._revision, after, timeout)
        return self._state.revision, self._state.changes(after)

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """See the protocol. Those that other replicas renew end when this one would take them to be over."""
        return chosen_leases(self._state.due, keys)

    # writing

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """See the protocol. Without changes it asks the repository whether it is there."""

        def judge(draft: Draft) -> Callable[[], int]:
            revision = draft.write(changes, expect or {}, leases or {})
            return lambda: revision

        return await self._ask(judge)

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """See the protocol. A lease that this replica renews anyway is not written down at once."""
        if all(self._state.owns(key) and key not in self._ending for key in leases):
            for key, end in leases.items():
                self._state.due.set(key, end)
            return frozenset()

        def judge(draft: Draft) -> Callable[[], frozenset[str]]:
            gone = draft.extend(leases)
            return lambda: gone

        return await self._ask(judge)

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """See the protocol."""
        if self._state.due.first() > now:
            return (), self._state.due.first()

        def judge(draft: Draft) -> Callable[[], tuple[tuple[str, ...], float]]:
            keys = draft.expire(now)
            return lambda: (keys, self._state.due.first())

        return await self._ask(judge)

    async def forget(self) -> None:
        """What was overwritten goes with the next snapshot, which is made now. StoreError if it cannot be."""
        await self._shorten()

    async def close(self) -> None:
        """End the tasks."""
        self._closed = True
        tasks = [*self._tasks, *([self._shortening] if self._shortening is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _fail(self._requests, StoreError("the store is closed"))

    @property
    def _state(self) -> State:
        return self._log.state

    async def _ask(self, judge: Callable[[Draft], Callable[[], ResultT]]) -> ResultT:
        if self._closed:
            raise StoreError("the store is closed")
        if len(self._requests) >= _MOST_WAITING:
            raise StoreError(f"{self._repository.name}: too many writes wait")
        request = _Request(judge)
        self._requests.append(request)
        self._wake.set()
        return await request.done

    # the task

    async def _work(self) -> None:
        """Follow what is new and write what is asked for, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            news, self._news = self._news, None
            try:
                if news is not None:
                    await self._log.told(news)
                    self._tell()
            except (RepositoryError, StoreError) as error:
                _log.warning("%s cannot be followed: %s", self._repository.name, error)
            except Exception:  # the next turn reads what this one could not
                _log.exception("unexpected, while %s was followed", self._repository.name)
            await self._write_all()

    async def _write_all(self) -> None:
        """Everything that was asked for, and leases that others have to know of."""
        if self._state.has_late(self._clock()):
            await self._take([_Request(self._write_down)])
        while self._requests:
            await self._take([self._requests.popleft() for _ in range(min(_TOGETHER, len(self._requests)))])
        while self._made:
            await self._place(self._made.popleft())
        if self._log.long and (self._shortening is None or self._shortening.done()):
            self._shortening = asyncio.create_task(self._keep_short())

    def _write_down(self, draft: Draft) -> Callable[[], None]:
        draft.write_down(self._clock())
        return lambda: None

    async def _take(self, requests: Sequence[_Request[Any]]) -> None:
        """Judge requests, write what they want together, and answer."""
        live = [request for request in requests if not request.done.done()]
        try:
            await self._write(live)
        except Exception as error:  # one request must not end all writing
            _log.exception("unexpected, while the store was written")
            _fail(live, StoreError(f"weft cannot write this ({type(error).__name__}); please report it"))
        finally:
            self._ending = frozenset()

    async def _write(self, live: Sequence[_Request[Any]]) -> None:
        until = asyncio.get_running_loop().time() + self._deadline
        wait, behind = Backoff(0.005, 0.5), False
        sent: Sent = []
        while True:
            pause = 0.0
            try:
                if behind:
                    await self._log.refresh()
                    self._tell()
                    if found := [one for one in sent if one.ids & self._state.ids.keys()]:
                        return self._settle(found[0])
                judged = self._judged(live)
                self._ending = frozenset(judged.draft.ending)
                if await self._put(judged, sent):
                    return self._settle(judged)
                problem = "other control planes write all the time"
            except RepositoryError as error:
                problem, pause = str(error), error.after
                if not sent and not pause:
                    return _fail(live, StoreError(f"{self._repository.name}: {problem}"))
            except StoreError as error:
                return _fail(live, error)
            behind = True
            if asyncio.get_running_loop().time() + pause > until:
                doubt = "; it may have been written all the same" if sent else ""
                return _fail(live, StoreError(f"{self._repository.name}: {problem}{doubt}"))
            await asyncio.sleep(wait.next(pause))

    def _judged(self, live: Sequence[_Request[Any]]) -> _Judged:
        draft = Draft(self._state, self._clock(), lambda: secrets.token_hex(6))
        answers: list[Callable[[], Any] | StoreError] = []
        for request in live:
            try:
                answers.append(request.judge(draft))
            except StoreError as error:
                answers.append(error)
        return _Judged(draft, live, answers)

    async def _put(self, judged: _Judged, sent: Sent) -> bool:
        """Write a draft, or see that nothing was written by others where there is nothing to write; False: judge
        again."""
        batches, version = judged.draft.batches, self._log.version
        try:
            async with asyncio.timeout(self._deadline):
                if batches:
                    return await self._log.add(batches)
                await self._log.refresh()
        except RepositoryError as error:
            if batches and error.unknown:
                sent.append(judged)
            raise
        except TimeoutError as error:
            sent += [judged] if batches else []
            raise RepositoryError("it does not answer in time", unknown=True) from error
        return self._log.version == version

    def _settle(self, judged: _Judged) -> None:
        for key, end in judged.draft.ends.items():
            if self._state.owns(key):
                self._state.due.set(key, end)
        self._tell()
        for request, answer in zip(judged.requests, judged.answers, strict=True):
            if request.done.done():
                continue
            if isinstance(answer, StoreError):
                request.done.set_exception(answer)
            else:
                request.done.set_result(answer())

    def _tell(self) -> None:
        if self._state.revision != self._revision.value or self._state is not self._told:
            self._told = self._state
            self._revision.set(self._state.revision)

    # beside it

    async def _watch(self) -> None:
        """Hear of heads for ever. What was missed between two watches is read."""
        wait, failed, loop = Backoff(0.2, 15.0), False, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                async with self._repository.watch(self._log.version) as heads:
                    async for head in heads:
                        self._news, failed = head, False
                        self._wake.set()
                        wait.reset()
                wait.lasted(loop.time() - begun)  # where nothing changes, nothing is said
            except RepositoryError as error:
                if not failed:
                    _log.warning("%s cannot be followed: %s", self._repository.name, error)
                failed = True
            await asyncio.sleep(wait.next())
            with contextlib.suppress(StoreError):
                await self.write([])

    async def _keep_short(self) -> None:
        try:
            await self._shorten()
        except StoreError as error:
            _log.warning("the log of %s cannot be made shorter, trying again: %s", self._repository.name, error)
            await asyncio.sleep(_SHORTEN_AGAIN_SECONDS)

    async def _shorten(self) -> None:
        """Make a snapshot, and have the task put it in place. StoreError."""
        try:
            made = await asyncio.to_thread(self._state.everything())
            names = await self._log.keep_snapshot(made)
        except RepositoryError as error:
            raise StoreError(f"{self._repository.name}: {error}") from error
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._made.append(_Made(made, names, done))
        self._wake.set()
        await done

    async def _place(self, made: _Made) -> None:
        try:
            for _ in range(_TRIES):
                if await self._log.shorten(made.snapshot, made.names):
                    break
                await self._log.refresh()
                self._tell()
            else:
                await self._log.drop(made.names)
                raise StoreError("other control planes write all the time")
            if not made.done.done():
                made.done.set_result(None)
        except Exception as error:  # it must not end all writing
            if not isinstance(error, RepositoryError | StoreError):
                _log.exception("unexpected, while a snapshot was put in its place")
            if not made.done.done():
                made.done.set_exception(StoreError(f"{self._repository.name}: {error}"))


def _fail(requests: Iterable[_Request[Any]], error: StoreError) -> None:
    for request in requests:
        if not request.done.done():
            request.done.set_exception(error)
