"""A Stream: one connected proxy. It moves messages between the wire and its session, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from weft.discovery.allowance import Allowance
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

    def progressed(self, stream: Stream) -> None:
        """The client answered or subscribed."""

    def refused(self, stream: Stream, rejections: tuple[Rejection, ...]) -> None:
        """The client refused resources."""


class StreamEndedError(Exception):
    """The server ends the stream. `code` is the name of a gRPC status; `problem` a kebab-case word if it is one."""

    def __init__(self, code: str, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.problem = problem


class Stream:
    """Made by the hub; `run` lasts as long as the stream."""

    def __init__(
        self,
        events: StreamEvents,
        peer: Peer,
        workload: Workload,
        session: DeltaSession | SotwSession,
        limits: Limits,
        allowance: Allowance,
    ) -> None:
        self.peer = peer
        self.workload = workload
        self.session = session
        self.connected = time.time()
        self.first_revision = session.snapshot.revision
        self.bytes_sent = 0
        self.unmet_since: dict[tuple[str, str], float] = {}
        self._events = events
        self._limits = limits
        self._wake = asyncio.Event()
        self._end: StreamEndedError | None = None
        self._task: asyncio.Task[object] | None = None
        self._writing_since: float | None = None
        self._unanswered: dict[str, tuple[str, float]] = {}
        self._allowance = allowance

    @property
    def proxy(self) -> str:
        """The name of the proxy."""
        return self.peer.name

    def offer(self, snapshot: XdsSnapshot) -> None:
        """A new snapshot for this proxy. Never waits."""
        changed = snapshot.layers is not self.session.snapshot.layers
        self.session.offer(snapshot)
        if changed:
            self._wake.set()

    def end(self, error: StreamEndedError) -> None:
        """End the stream, also if it is stuck in a write."""
        if self._end is not None:
            return
        self._end = error
        self._wake.set()
        if self._writing_since is not None and self._task is not None:
            self._task.cancel()

    async def run(self, read: Read, write: Write) -> None:
        """Serve until the client leaves (returns) or the server ends it (StreamEndedError)."""
        self._task = asyncio.current_task()
        reader = asyncio.create_task(self._read(read))
        try:
            while self._end is None:
                await self._wake.wait()
                self._wake.clear()
                await self._send(write)
        except asyncio.CancelledError:
            if self._end is None:
                raise
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._end.code:
            raise self._end

    async def _send(self, write: Write) -> None:
        while self._end is None and (out := self._next()) is not None:
            self._writing_since = time.monotonic()
            try:
                await write(out.body)
            except Exception as error:  # of several kinds, all of which mean that the connection is gone
                self._writing_since = None
                self.end(StreamEndedError("", f"writing failed: {error}"))
                return
            self._writing_since = None
            self.bytes_sent += len(out.body)

    def _next(self) -> Outgoing | None:
        try:
            return self.session.next()
        except Exception as error:
            raise StreamEndedError("INTERNAL", f"no response could be made: {error!r}", "internal-error") from error

    async def _read(self, read: Read) -> None:
        try:
            while self._end is None:
                raw = await self._receive_one(read)
                if raw is None:
                    break
                self.take(raw)
                del raw
            self.end(StreamEndedError("", "the client has left"))
        except StreamEndedError as error:
            self.end(error)
        except asyncio.CancelledError:
            self.end(StreamEndedError("", "cancelled"))
            raise
        except Exception as error:
            self.end(StreamEndedError("INTERNAL", f"a request could not be taken in: {error!r}", "internal-error"))

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
            raise StreamEndedError("RESOURCE_EXHAUSTED", str(error), error.code) from error
        if rejections:
            self._events.refused(self, rejections)
        self._wake.set()
        self._events.progressed(self)

    def _receive(self, raw: bytes) -> tuple[Rejection, ...]:
        if isinstance(self.session, DeltaSession):
            node, delta = delta_request(raw)
            self._check_node(node)
            names = len(delta.subscribe) + len(delta.unsubscribe) + len(delta.initial_versions)
            self._spend(self.session.is_answer(delta), names)
            return self.session.receive(delta)
        node, sotw = sotw_request(raw)
        self._check_node(node)
        known = self.session.subscriptions.get(sotw.type_url)
        repeated = 0 if known is None else len(known.names)
        self._spend(self.session.is_answer(sotw), max(0, len(sotw.names) - repeated))
        return self.session.receive(sotw)

    def _check_node(self, node: str) -> None:
        if node and node != self.peer.name:
            raise StreamEndedError("PERMISSION_DENIED", f"the node id changed to {node[:200]!r}", "identity-refused")

    def _spend(self, answer: bool, names: int) -> None:
        if not self._allowance.spend(0 if answer else 1, names, time.monotonic()):
            rate = f"{self._limits.request_rate:g} requests per second, or as much in names"
            raise RefusedRequestError("flood", f"more than {rate}")

    def inspect(self, now: float) -> None:
        """Called about once a second (`now` is monotonic): end the stream if it is stuck, note what it lacks."""
        if self._writing_since is not None and now - self._writing_since > self._limits.write:
            self.end(StreamEndedError("UNAVAILABLE", "the proxy does not read", "stuck"))
        if self.peer.not_after <= time.time():
            self.end(StreamEndedError("UNAUTHENTICATED", "the client certificate has expired; connect with a new one"))
        for type_url, subscription in self.session.subscriptions.items():
            flight = subscription.flight
            if flight is None:
                continue
            nonce, since = self._unanswered.get(type_url, ("", now))
            if nonce != flight.nonce:
                self._unanswered[type_url] = (flight.nonce, now)
            elif now - since > self._limits.acknowledge:
                self.end(StreamEndedError("UNAVAILABLE", "a response was not acknowledged", "stuck"))
        self._note_unmet(now)

    def _note_unmet(self, now: float) -> None:
        current: dict[tuple[str, str], float] = {}
        for key in self.session.unmet():
            current[key] = self.unmet_since.get(key, now)
            if len(current) >= _REPORTED_UNMET:
                break
        self.unmet_since = current
