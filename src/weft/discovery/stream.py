"""A Stream: one connected proxy. It moves messages between the wire and its session, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from weft.discovery.allowance import Allowance, cost_of
from weft.discovery.budget import Budget
from weft.discovery.delta import DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.peer import Peer
from weft.discovery.requests import delta_request, sotw_request
from weft.discovery.session import Outgoing, RefusedRequestError
from weft.discovery.sotw import SotwSession
from weft.discovery.subscription import Rejection
from weft.model.workload import Workload
from weft.xds.snapshot import XdsSnapshot

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]
_REPORTED_UNMET = 50


class StreamEvents(Protocol):
    """What a stream tells the hub."""

    def sent(self, type_url: str, size: int) -> None:
        """A response was written."""

    def progressed(self, stream: Stream) -> None:
        """The client answered or subscribed."""

    def refused(self, stream: Stream, rejections: tuple[Rejection, ...]) -> None:
        """The client refused resources."""

    def asked(self, stream: Stream, names: frozenset[str]) -> None:
        """The client asked for clusters that are on demand."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stream ends. `code` is the name of a gRPC status, empty if the client ended it or is gone; `problem` is a
    kebab-case word if the ending is one."""

    code: str
    message: str
    problem: str = ""


class StreamEndedError(Exception):
    """The server ends the stream."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


class Stream:
    """Made by the hub; `run` lasts as long as the stream. `client` is the version that the other side says it has.

    It keeps the Ending and not the exception: that would hold the frames it passed through, which hold the stream.
    """

    def __init__(
        self,
        events: StreamEvents,
        peer: Peer,
        workload: Workload,
        session: DeltaSession | SotwSession,
        limits: Limits,
        allowance: Allowance,
        budget: Budget,
    ) -> None:
        self.peer = peer
        self.workload = workload
        self.session = session
        self.connected = time.time()
        self.client = ""
        self._since = time.monotonic()
        self.first_revision = session.snapshot.revision
        self.bytes_sent = 0
        self.unmet_since: dict[tuple[str, str], float] = {}
        self._events = events
        self._limits = limits
        self._allowance = allowance
        self._budget = budget
        self._wake = asyncio.Event()
        self._ending: Ending | None = None
        self._task: asyncio.Task[object] | None = None
        self._writing_since: float | None = None
        self._sent: dict[str, float] = {}

    @property
    def proxy(self) -> str:
        """The name of the proxy."""
        return self.peer.name

    def offer(self, snapshot: XdsSnapshot) -> None:
        """A new snapshot for this proxy. Never waits, and never raises."""
        try:
            self.session.offer(snapshot)
            self._pass_on_asked()
        except Exception as error:
            self.end(_fault("a snapshot could not be offered", error))
        if self.session.may_send:
            self._wake.set()

    @property
    def acked_revision(self) -> int:
        """See `Session.acked_revision`. Never raises: who waits for a proxy waits for others, too."""
        try:
            return self.session.acked_revision
        except Exception as error:
            self.end(_fault("what was acknowledged is not known", error))
            return -1

    @property
    def loaded(self) -> bool:
        """Whether the client has asked for what it will hold. Never raises, as `acked_revision`."""
        try:
            return self.session.loaded
        except Exception as error:
            self.end(_fault("what was asked for is not known", error))
            return False

    @property
    def is_current(self) -> bool:
        """Whether the client has acknowledged or refused everything."""
        return self.acked_revision >= self.session.snapshot.revision

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on the way and the client has acknowledged or refused everything. Looks closer only if no
        response is on the way, so that asking with every answer costs little."""
        return all(one.flight is None for one in self.session.subscriptions.values()) and self.is_current

    @property
    def unanswered_since(self) -> float | None:
        """Since when (monotonic) the oldest response on the way waits for an answer."""
        in_flight = (kind for kind, one in self.session.subscriptions.items() if one.flight is not None)
        return min((self._sent.get(kind, self._since) for kind in in_flight), default=None)

    @property
    def owes_since(self) -> float | None:
        """Since when the client owes us something, its subscriptions or an answer. None: nothing."""
        return self.unanswered_since if self.loaded else self._since

    def end(self, ending: Ending) -> None:
        """End the stream, also if it is stuck in a write."""
        if self._ending is not None:
            return
        self._ending = ending
        self._wake.set()
        if self._writing_since is not None and self._task is not None:
            self._task.cancel()

    async def run(self, read: Read, write: Write) -> None:
        """Serve until the client leaves (returns) or the server ends it (StreamEndedError)."""
        self._task = asyncio.current_task()
        reader = asyncio.create_task(self._read(read))
        try:
            while self._ending is None:
                await self._wake.wait()
                self._wake.clear()
                await self._send(write)
        except asyncio.CancelledError:
            if self._ending is None:
                raise
        finally:
            self._task = None
            self._budget.leave(self._wake)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._ending.code:
            raise StreamEndedError(self._ending)

    async def _send(self, write: Write) -> None:
        while self._ending is None and (out := self._next()) is not None:
            self._writing_since = self._sent[out.type_url] = time.monotonic()
            try:
                with self._share(len(out.body)):
                    await write(out.body)
            except Exception as error:  # of several kinds, all of which mean that the connection is gone
                self.end(Ending("", f"writing failed: {error}"))
                return
            finally:
                self._writing_since = None
            self.bytes_sent += len(out.body)
            self._events.sent(out.type_url, len(out.body))
        if self.session.deferred:
            self._budget.wait(self._wake)
        else:
            self._budget.leave(self._wake)

    @contextmanager
    def _share(self, size: int) -> Iterator[None]:
        """A share of the budget while a response is written. One that takes long gives it back before: a client that
        does not read must not hold up the others."""
        share = self._budget.take(size, self._wake)
        if share is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self._limits.turn, share.give)
        try:
            yield
        finally:
            timer.cancel()
            share.give()

    def _next(self) -> Outgoing | None:
        try:
            return self.session.next(self._budget.most)
        except Exception as error:
            raise StreamEndedError(_fault("no response could be made", error)) from error

    async def _read(self, read: Read) -> None:
        try:
            while self._ending is None:
                raw = await self._receive_one(read)
                if raw is None:
                    break
                self.take(raw)
                del raw
            self.end(Ending("", "the client has left"))
        except StreamEndedError as error:
            self.end(error.ending)
        except asyncio.CancelledError:
            self.end(Ending("", "cancelled"))
            raise
        except Exception as error:
            self.end(_fault("a request could not be taken in", error))

    @staticmethod
    async def _receive_one(read: Read) -> bytes | None:
        try:
            return await read()
        except Exception:  # of several kinds, all of which mean that the connection is gone
            return None

    def take(self, raw: bytes) -> None:
        """Take in a request. Do not keep it: it names all that the client holds. StreamEndedError if it is refused."""
        try:
            rejections = self._receive(raw)
        except RefusedRequestError as error:
            raise StreamEndedError(Ending("RESOURCE_EXHAUSTED", str(error), error.code)) from error
        if rejections:
            self._events.refused(self, rejections)
        self._pass_on_asked()
        if self.session.may_send:
            self._wake.set()
        self._events.progressed(self)

    def _pass_on_asked(self) -> None:
        if self.session.asked:
            names, self.session.asked = self.session.asked, frozenset()
            self._events.asked(self, names)

    def _receive(self, raw: bytes) -> tuple[Rejection, ...]:
        if not self._allowance.has_some(time.monotonic()):  # before it costs anything
            raise self._flood()
        if isinstance(self.session, DeltaSession):
            node, delta = delta_request(raw)
            self._check_node(node)
            changed = len(delta.subscribe) + len(delta.unsubscribe)
            known = self._subscribed(delta.type_url) if changed else 0
            self._spend(raw, changed + len(delta.initial_versions), known, answer=self.session.is_answer(delta))
            return self.session.receive(delta)
        node, sotw = sotw_request(raw)
        self._check_node(node)
        new = max(0, len(sotw.names) - self._subscribed(sotw.type_url))
        self._spend(raw, new, 0, answer=self.session.is_answer(sotw))
        return self.session.receive(sotw)

    def _subscribed(self, type_url: str) -> int:
        known = self.session.subscriptions.get(type_url)
        return 0 if known is None else len(known.names)

    def _check_node(self, node: str) -> None:
        if node and node != self.peer.name:
            message = f"the node id changed to {node[:200]!r}"
            raise StreamEndedError(Ending("PERMISSION_DENIED", message, "identity-refused"))

    def _spend(self, raw: bytes, names: int, kept: int, *, answer: bool) -> None:
        if not self._allowance.spend(cost_of(len(raw), names, kept, answer=answer), time.monotonic()):
            raise self._flood()

    def _flood(self) -> RefusedRequestError:
        return RefusedRequestError(
            "flood", f"more than {self._limits.request_rate:g} requests per second, or as much in names and bytes"
        )

    def inspect(self, now: float) -> None:
        """Called at least every ten seconds (`now` is monotonic): end the stream if it is stuck, note what it lacks."""
        try:
            self._inspect(now)
        except Exception as error:
            self.end(_fault("the stream could not be looked at", error))

    def _inspect(self, now: float) -> None:
        if self._writing_since is not None and now - self._writing_since > self._limits.write:
            self.end(Ending("UNAVAILABLE", "the proxy does not read", "stuck"))
        if self.peer.not_after <= time.time():
            self.end(Ending("UNAUTHENTICATED", "the client certificate has expired; connect with a new one"))
        unanswered = self.unanswered_since
        if unanswered is not None and now - unanswered > self._limits.acknowledge:
            self.end(Ending("UNAVAILABLE", "a response was not acknowledged", "stuck"))
        self._note_unmet(now)

    def _note_unmet(self, now: float) -> None:
        current: dict[tuple[str, str], float] = {}
        for key in self.session.unmet():
            current[key] = self.unmet_since.get(key, now)
            if len(current) >= _REPORTED_UNMET:
                break
        self.unmet_since = current


def _fault(what: str, error: Exception) -> Ending:
    """A fault of ours ends the stream, and nothing else."""
    return Ending("INTERNAL", f"{what}: {error!r}", "internal-error")
