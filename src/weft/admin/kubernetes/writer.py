"""The status writer: compares what objects' statuses say with what the mesh says, and writes where that differs.

It consumes compiled meshes and never holds up the next: everything happens in a task of its own, in turns, a bounded
number of writes at a time. An object is read before it is written, so that times of conditions and what others wrote
stay, and written only as the version that was read (https://kubernetes.io/docs/reference/using-api/server-side-apply/).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

from weft.admin.context import Compiled
from weft.admin.kubernetes.confirmations import Confirmations, Lacking
from weft.admin.kubernetes.duty import Duty
from weft.admin.kubernetes.refusals import Refusals
from weft.admin.kubernetes.wanted import Wanted
from weft.aio.backoff import Backoff
from weft.aio.cell import Cell
from weft.aio.turns import Turns
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.sources.kubernetes.client import APPLY_PATCH, ApiClient, ApiError
from weft.sources.kubernetes.source import KubernetesSource, ServedObject
from weft.sources.kubernetes.statuses import Shape, Status, digest_of, joined, shape_of

MANAGER = {"fieldManager": "weft", "force": "true"}
_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409
_OF_THE_OBJECT = frozenset((400, 413, 422))
_GATEWAYS = frozenset(("Gateway", "ListenerSet"))
_log = logging.getLogger("weft.kubernetes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: to gather changes; between looks at all objects at least; between looks at Gateways that proxies have
    not confirmed, and at others. `workers` writes at a time, `rate` objects a second over time. An object that somebody
    else writes against us is written after `again` seconds, then after twice as long, up to `longest`."""

    gather: float = 0.1
    survey: float = 1.0
    unconfirmed: float = 0.3
    gateways: float = 2.0
    workers: int = 4
    rate: float = 50.0
    again: float = 1.0
    longest: float = 60.0


USUAL = Pace()


@dataclass(frozen=True, slots=True)
class _Made:
    """The digest of the status that an object should have, and what that was made of."""

    source: tuple[object, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written last, when, how often in a row, and from when on it may be written again."""

    digest: bytes
    times: int
    due: float


class _About(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _About
    status: dict[str, Any] | None = None


class StatusWriter:
    """See the module. `duty` says whether this control plane writes, and what; `begin_anew` is to be called when that
    changes, `wake` with each object that is new or different. `problems` is all that is wrong in a compiled mesh,
    `reached` where clients reach a Gateway, as far as that is known. `wrote` counts writes by what came of them."""

    def __init__(
        self,
        client: ApiClient,
        source: KubernetesSource,
        compiled: Cell[Compiled],
        lacking: Lacking,
        duty: Duty,
        problems: Callable[[Compiled], tuple[Problem, ...]],
        reached: Callable[[ObjectKey], tuple[str, ...] | None] = lambda _: (),
        wrote: Callable[[str], None] = lambda _: None,
        pace: Pace = USUAL,
    ) -> None:
        self._client = client
        self._source = source
        self._compiled = compiled
        self._duty = duty
        self._wrote = wrote
        self._pace = pace
        self._problems = problems
        self._reached = reached
        self._confirmations = Confirmations(lacking)
        self._backoff = Backoff(0.5, 30.0)
        self._wake = asyncio.Event()
        self._documents: dict[ObjectKey, Document[object]] = {}
        self._gateways: tuple[ObjectKey, ...] = ()
        self._wanted = Wanted(compiled.value, ())
        self._made: dict[ObjectKey, _Made] = {}
        self._written: dict[ObjectKey, _Written] = {}
        self._changed: set[ObjectKey] = set()
        self._seen_version = -1
        self._surveyed = float("-inf")
        self.refusals = Refusals()

    def begin_anew(self) -> None:
        """Other objects are to be written about, or none any more."""
        self._seen_version = -1
        self._wake.set()

    def wake(self, key: ObjectKey | None = None) -> None:
        """Something is new: an object, or everything."""
        if key is not None:
            self._changed.add(key)
        else:
            self._seen_version = -1
        self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            while True:
                try:
                    async with asyncio.timeout(self._rest()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                await asyncio.sleep(self._pace.gather)
                self._wake.clear()
                if not self._duty.leads():
                    self._forget()
                    continue
                try:
                    await self._round()
                    self._backoff.reset()
                except ApiError as error:
                    await asyncio.sleep(self._backoff.next(error.after))
                    self._wake.set()
                except Exception:  # whatever an object may say, the others are to be written
                    _log.exception("statuses cannot be written")
                    await asyncio.sleep(self._backoff.next())

    async def _follow(self) -> None:
        version = 0
        while True:
            version = await self._compiled.changed(version)
            self._wake.set()

    def _rest(self) -> float:
        """How long nothing happens if nobody wakes us."""
        if not self._duty.leads():
            return self._pace.longest
        now = time.monotonic()
        rest = [max(0.0, self._due(key) - now) for key in self._changed]
        if self._gateways:
            rest.append(self._pace.unconfirmed if self._confirmations.awaited else self._pace.gateways)
        return max(self._pace.gather, min(rest, default=self._pace.longest))

    def _forget(self) -> None:
        """Another writes; what it does is seen when that ends."""
        self._made.clear()
        self._written.clear()
        self._changed.clear()
        self._documents, self._gateways = {}, ()
        self._seen_version = -1
        self.refusals.clear()

    async def _round(self) -> None:
        now = time.monotonic()
        if self._compiled.version != self._seen_version and now - self._surveyed >= self._pace.survey:
            await self._survey(now)
        elif self._compiled.version != self._seen_version:
            asyncio.get_running_loop().call_later(self._surveyed + self._pace.survey - now, self._wake.set)
        self._confirmations.awaited = False
        self._changed.update(self._gateways)
        begun = time.monotonic()
        due = (key for key in tuple(self._changed) if self._is_due(key, begun))
        batch = list(islice(due, int(self._pace.rate)))
        if batch:
            await self._write_all(batch)
            used = time.monotonic() - begun
            await asyncio.sleep(max(0.0, len(batch) / self._pace.rate - used))
            self._wake.set()

    async def _survey(self, now: float) -> None:
        """Look at all objects, after a mesh was compiled."""
        self._surveyed, self._seen_version = now, self._compiled.version
        compiled = self._compiled.value
        documents = {
            each.key: each for each in compiled.documents if self._is_written(each.key) and self._duty.owns(each.key)
        }
        self._documents = documents
        self._gateways = tuple(key for key in documents if key.group == GATEWAY_GROUP and key.kind in _GATEWAYS)
        self._confirmations.begin(compiled.workloads, compiled.revision, documents)
        self._wanted = Wanted(
            compiled,
            self._problems(compiled),
            lambda document: self._confirmations.of(document, time.monotonic()),
            self._addresses,
        )
        self._made = {key: made for key, made in self._made.items() if key in documents}
        old = now - 2 * self._pace.longest
        self._written = {key: one for key, one in self._written.items() if key in documents and one.due > old}
        turns = Turns()
        for key in documents:
            if self._differs(key):
                self._changed.add(key)
            await turns.give()

    def _addresses(self, document: Document[object]) -> tuple[str, ...] | None:
        reached = self._reached(document.key)
        return reached if reached is None or reached else self._confirmations.addresses(document)

    def _is_written(self, key: ObjectKey) -> bool:
        served = self._source.served(key)
        return served is not None and served.has_status and shape_of(served.kind) is not None

    def _is_due(self, key: ObjectKey, now: float) -> bool:
        """Whether an object is to be written now. One that says what it should is dropped."""
        if not self._differs(key):
            self._changed.discard(key)
            return False
        before = self._written.get(key)
        due = before is None or before.digest != self._made[key].digest or now >= before.due
        return due and now >= self.refusals.until(key)

    def _due(self, key: ObjectKey) -> float:
        """When a status that was written may be written again, or one that was refused be tried again."""
        before = self._written.get(key)
        return max(before.due if before is not None else 0.0, self.refusals.until(key))

    def _differs(self, key: ObjectKey) -> bool:
        document, found = self._documents.get(key), self._source.object_of(key)
        if document is None or found is None:
            return False
        if key in self._gateways and self._confirmations.held(document, time.monotonic()):
            return False
        digest = self._digest(document, found)
        return digest is not None and digest != found.reading.status

    def _digest(self, document: Document[object], found: ServedObject) -> bytes | None:
        source = self._wanted.source(document)
        known = self._made.get(document.key)
        generation = found.reading.generation
        if source is not None and known is not None and _same(known.source, (*source, generation)):
            return known.digest
        status = self._wanted.of(document, generation)
        shape = shape_of(found.served.kind)
        if status is None or shape is None:
            return None
        digest = digest_of(shape, status)
        self._made[document.key] = _Made((*(source or ()), generation), digest)
        return digest

    async def _write_all(self, batch: list[ObjectKey]) -> None:
        """A few at a time. ApiError if the server is not there."""
        left = iter(batch)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._pace.workers, len(batch))):
                    group.create_task(self._work(left))
        except* ApiError as errors:
            first = errors.exceptions[0]
            raise first if isinstance(first, ApiError) else errors from errors

    async def _work(self, left: Iterator[ObjectKey]) -> None:
        for key in left:
            document, found = self._documents.get(key), self._source.object_of(key)
            if document is None or found is None or not self._duty.owns(key):
                continue
            self._changed.discard(key)
            try:
                if await self._write(document, found):
                    self._wrote("written")
                    self.refusals.taken(found.served.kind)
            except ApiError as error:
                self._changed.add(key)
                self._failed(error, found)
            except BaseException:
                self._changed.add(key)
                raise

    def _failed(self, error: ApiError, found: ServedObject) -> None:
        """Note why an object was not written. ApiError if that is true of all objects."""
        key = found.reading.key
        if error.status == _FORBIDDEN:
            self._wrote("refused")
            self.refusals.refused(found.served.kind, str(error), time.monotonic())
        elif error.status == _NOT_FOUND:
            self._changed.discard(key)  # it is gone, which the source is about to say
        elif error.status == _CONFLICT:
            self._wrote("conflict")  # somebody wrote since it was read
        elif error.status in _OF_THE_OBJECT:
            self._wrote("refused")
            if self._written[key].times == 0:
                _log.warning("the status of %s cannot be written: %s", key, error)
        else:
            self._wrote("failed")
            raise error

    async def _write(self, document: Document[object], found: ServedObject) -> bool:
        """Whether anything had to be written. ApiError."""
        shape = shape_of(found.served.kind)
        wanted = self._wanted.of(document, found.reading.generation)
        if shape is None or wanted is None:
            return False
        digest = digest_of(shape, wanted)
        self._note(document.key, digest)
        there = msgspec.json.decode((await self._client.get(found.path)).body, type=_Object)
        if (
            there.metadata.uid != found.uid
            or digest_of(shape, there.status or {}) == digest
            or not self._duty.owns(document.key)
        ):
            return False
        body = _body(shape, found, there, wanted)
        await self._client.send("PATCH", f"{found.path}/status", body, APPLY_PATCH, MANAGER)
        return True

    def _note(self, key: ObjectKey, digest: bytes) -> None:
        """An object is written: the same again only later, and later each time."""
        before = self._written.get(key)
        times = before.times + 1 if before is not None and before.digest == digest else 0
        wait = min(self._pace.longest, self._pace.again * 2.0 ** min(times, 10))
        self._written[key] = _Written(digest, times, time.monotonic() + wait)


def _same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    return len(first) == len(second) and all(
        one is other or one == other for one, other in zip(first, second, strict=True)
    )


def _body(shape: Shape, found: ServedObject, there: _Object, wanted: Status) -> bytes:
    key = found.reading.key
    moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    about = {"name": key.name, "resourceVersion": there.metadata.resource_version}
    return msgspec.json.encode(
        {
            "apiVersion": found.served.api_version,
            "kind": key.kind,
            "metadata": about | ({"namespace": key.namespace} if key.namespace else {}),
            "status": joined(shape, there.status or {}, wanted, moment),
        }
    )
