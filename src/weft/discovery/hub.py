"""The Hub: builds the snapshot of every connected proxy and offers it to its streams; knows who has confirmed what.

It belongs to one event loop. `publish` is called by one task, the build loop; streams call in from theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from weft.discovery.allowance import Allowance
from weft.discovery.delta import DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.peer import Peer, belongs
from weft.discovery.problems import ProblemLog, nack_problem
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwSession
from weft.discovery.status import Nack, ProxyStatus, TypeStatus, WaitResult, short_type
from weft.discovery.stream import Stream, StreamEndedError
from weft.discovery.subscription import Rejection
from weft.discovery.waiting import History, Waiter
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.xds.snapshot import XdsSnapshot

MeshT = TypeVar("MeshT")
MeshT_contra = TypeVar("MeshT_contra", contravariant=True)
_YIELD_AFTER = 0.004
"""Seconds of building after which others get their turn."""


class Compiler(Protocol[MeshT_contra]):
    """How a snapshot is made; `weft.discovery.compiler.MeshCompiler` in a control plane."""

    def compile(self, mesh: MeshT_contra, workload: Workload, revision: int) -> XdsSnapshot:
        """What the workload's proxy should hold."""


class Hub(Generic[MeshT]):
    """See the module. `events` hears of every refusal as it happens (for the log and the audit)."""

    def __init__(
        self, compiler: Compiler[MeshT], events: Callable[[Problem], None] | None = None, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.ready = asyncio.Event()
        self._compiler = compiler
        self._events = events
        self._mesh: MeshT | None = None
        self._revision = -1
        self._streams: dict[str, list[Stream]] = {}
        self._snapshots: dict[str, XdsSnapshot] = {}
        self._workloads: Mapping[str, Workload] = {}
        self._awaited: dict[str, float] = {}
        self._allowances: dict[str, Allowance] = {}
        self._shared = Shared()
        self._history = History()
        self._between: set[str] = set()
        self._waiters: set[Waiter] = set()
        self._published = asyncio.Event()
        self._log = ProblemLog(self.limits.problems)
        self._failures: dict[str, Problem] = {}

    # the build loop

    async def publish(self, mesh: MeshT, workloads: Mapping[str, Workload], revision: int) -> None:
        """Rebuild what connected proxies should hold and offer it to them. Gives way to other tasks in between.

        A step on the way to the next revision is published with the revision before; see `settled`.
        """
        self._mesh, self._workloads, self._revision = mesh, workloads, revision
        if not self.ready.is_set():  # they hold what the process before this one gave them
            end = time.monotonic() + self.limits.restart
            self._awaited = {proxy: end for proxy in workloads if proxy not in self._streams}
        changed = []
        turn = time.monotonic()
        for proxy in list(self._streams):
            if self._rebuild(proxy):
                changed.append(proxy)
            if time.monotonic() - turn > _YIELD_AFTER:
                await asyncio.sleep(0)
                turn = time.monotonic()
        self._between.update(changed, self._absent())
        if revision > self._history.latest:
            self._history.add(revision, self._between)
            self._between.clear()
        self.ready.set()
        published, self._published = self._published, asyncio.Event()
        published.set()

    def _rebuild(self, proxy: str) -> bool:
        """Build and offer one proxy's snapshot; whether it changed."""
        streams = self._streams.get(proxy)
        if not streams:
            return False
        workload = self._workloads.get(proxy, streams[-1].workload)
        self._end_strangers(streams, workload)
        before = self._snapshots.get(proxy)
        snapshot = self._build(proxy, workload, before)
        if snapshot is None:
            return False
        self._snapshots[proxy] = snapshot
        for stream in streams:
            if belongs(stream.peer, workload):
                stream.workload = workload
                stream.offer(snapshot)
        return before is None or snapshot.layers is not before.layers

    def _end_strangers(self, streams: list[Stream], workload: Workload) -> None:
        """A name may pass to another identity: what that one is given must not reach its former holder."""
        for stream in streams:
            if not belongs(stream.peer, workload):
                message = f"{stream.proxy!r} is now registered by another identity than {stream.peer.identity}"
                stream.end(StreamEndedError("PERMISSION_DENIED", message, "identity-refused"))

    def _build(self, proxy: str, workload: Workload, before: XdsSnapshot | None) -> XdsSnapshot | None:
        if self._mesh is None:
            return None
        try:
            snapshot = self._compiler.compile(self._mesh, workload, self._revision)
        except Exception as error:
            message = f"the configuration of proxy {proxy} could not be built: {error!r}; it keeps its last one"
            problem = Problem(Severity.ERROR, "build-failed", message, Origin("control plane"))
            if self._failures.get(proxy) != problem:
                self._failures[proxy] = problem
                self._tell(problem)
            return None
        self._failures.pop(proxy, None)
        if before is not None and _same(before, snapshot):
            return XdsSnapshot(snapshot.revision, before.layers, snapshot.problems)
        return snapshot

    # streams

    def attach(self, peer: Peer, workload: Workload, *, delta: bool) -> Stream:
        """A new stream of an identified proxy. Raises StreamEndedError if it cannot be served."""
        streams = self._streams.get(peer.name, [])
        if sum(map(len, self._streams.values())) >= self.limits.streams:
            raise StreamEndedError("RESOURCE_EXHAUSTED", "too many streams", "too-many-streams")
        replaced = [stream for stream in streams if delta and isinstance(stream.session, DeltaSession)]
        if len(streams) - len(replaced) >= self.limits.streams_per_proxy:
            raise StreamEndedError("RESOURCE_EXHAUSTED", "too many streams of one proxy", "too-many-streams")
        latest = self._workloads.get(peer.name, workload)
        workload = latest if belongs(peer, latest) else workload
        known = self._snapshots.get(peer.name) if streams and belongs(peer, streams[-1].workload) else None
        snapshot = known or self._build(peer.name, workload, None)
        if snapshot is None:
            raise StreamEndedError("UNAVAILABLE", "there is no configuration for this proxy yet")
        session = (DeltaSession if delta else SotwSession)(snapshot, self._shared, self.limits)
        allowance = self._allowances.setdefault(peer.name, Allowance(self.limits, time.monotonic()))
        stream = Stream(self, peer, workload, session, self.limits, allowance)
        self._snapshots[peer.name] = snapshot
        self._streams[peer.name] = [*(other for other in streams if other not in replaced), stream]
        for other in replaced:
            other.end(StreamEndedError("ABORTED", "another stream of this proxy has taken over"))
        return stream

    def detach(self, stream: Stream) -> None:
        """The stream has ended."""
        streams = [other for other in self._streams.get(stream.proxy, ()) if other is not stream]
        if streams:
            self._streams[stream.proxy] = streams
        elif self._streams.pop(stream.proxy, None) is not None:
            self._snapshots.pop(stream.proxy, None)
            self._failures.pop(stream.proxy, None)
            self._awaited[stream.proxy] = time.monotonic() + self.limits.reconnect
        self._progress(stream.proxy)

    def progressed(self, stream: Stream) -> None:
        """A stream's client answered or subscribed."""
        if self._waiters:
            self._progress(stream.proxy)

    def refused(self, stream: Stream, rejections: tuple[Rejection, ...]) -> None:
        """A stream's client refused resources."""
        for rejection in rejections:
            self._tell(nack_problem(stream.proxy, rejection))

    def report(self, code: str, who: str, message: str) -> None:
        """Record a refused identity or a broken limit. `who` names the peer (an address or a proxy)."""
        problem = Problem(Severity.ERROR, code, message, Origin(who))
        if self._log.add(problem, time.monotonic()):
            self._tell(problem)

    def _tell(self, problem: Problem) -> None:
        if self._events is not None:
            self._events(problem)

    def inspect(self) -> None:
        """Called about once a second: end stuck streams, forget old findings."""
        now = time.monotonic()
        for stream in self._all():
            stream.inspect(now)
        for proxy in [proxy for proxy, end in self._awaited.items() if now >= end]:
            del self._awaited[proxy]
        for proxy in [name for name, one in self._allowances.items() if name not in self._streams and one.unused(now)]:
            del self._allowances[proxy]
        for waiter in self._waiters:
            for proxy in tuple(waiter.remaining):
                self._check(waiter, proxy)

    def _all(self) -> Iterator[Stream]:
        for streams in list(self._streams.values()):
            yield from streams

    # questions

    def snapshot_of(self, proxy: str) -> XdsSnapshot | None:
        """What a connected proxy should hold."""
        return self._snapshots.get(proxy)

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """All connected streams, by proxy name."""
        return tuple(sorted(map(_status, self._all()), key=lambda status: (status.name, status.connected)))

    def problems(self) -> tuple[Problem, ...]:
        """What proxies refuse at present, what they ask for in vain, builds that fail, and peers refused lately."""
        found: list[Problem] = list(self._failures.values())
        now = time.monotonic()
        for stream in self._all():
            found += [nack_problem(stream.proxy, rejection) for rejection in stream.session.rejections()]
            for (type_url, name), since in stream.unmet_since.items():
                if now - since >= self.limits.not_entitled:
                    message = (
                        f"proxy {stream.proxy} asks for {short_type(type_url)} {name[:200]!r}, which it may not have"
                    )
                    found.append(Problem(Severity.WARNING, "not-entitled", message, Origin(f"proxy {stream.proxy}")))
            if len(found) >= self.limits.problems:
                break
        return tuple(found[: self.limits.problems]) + self._log.problems(now)

    # waiting

    async def wait_revision(self, revision: int, timeout: float) -> WaitResult:
        """Wait until `revision` is published and every proxy whose configuration changed with it has acknowledged or
        refused everything of it. A proxy that has disconnected is waited for only as long as it takes to come back."""
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                while not self.ready.is_set() or self._history.latest < revision:
                    await self._published.wait()
        except TimeoutError:
            return WaitResult((), (), (), published=False)
        publication = self._history.covering(revision)
        concerned = self._present() if publication is None else publication.changed
        waiter = Waiter(revision if publication is None else publication.revision, concerned)
        await self._wait(waiter, deadline - time.monotonic())
        return self._result(waiter)

    async def settled(self, timeout: float) -> bool:
        """Wait until every connected proxy has acknowledged or refused all that it was offered; False: not in time."""
        waiter = Waiter(self._revision, self._present())
        await self._wait(waiter, timeout)
        return waiter.done.is_set()

    def _absent(self) -> set[str]:
        """Registered proxies that are not connected at the moment, but are about to be again."""
        now = time.monotonic()
        return {
            proxy
            for proxy, end in self._awaited.items()
            if now < end and proxy in self._workloads and proxy not in self._streams
        }

    def _present(self) -> frozenset[str]:
        return frozenset(self._streams) | self._absent()

    async def _wait(self, waiter: Waiter, timeout: float) -> None:
        self._waiters.add(waiter)
        try:
            for proxy in waiter.concerned:
                self._check(waiter, proxy)
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter.done.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def _progress(self, proxy: str) -> None:
        for waiter in self._waiters:
            if proxy in waiter.remaining:
                self._check(waiter, proxy)

    def _check(self, waiter: Waiter, proxy: str) -> None:
        streams = self._streams.get(proxy)
        if streams:
            if all(stream.session.acked_revision >= waiter.revision for stream in streams):
                waiter.settle(proxy)
            return
        left = self._awaited.get(proxy, 0.0) - time.monotonic()
        if left <= 0 or proxy not in self._workloads:
            waiter.settle(proxy, gone=True)
        else:
            asyncio.get_running_loop().call_later(left, self._progress, proxy)

    def _result(self, waiter: Waiter) -> WaitResult:
        nacks = [
            _nack(proxy, rejection)
            for proxy in sorted(waiter.concerned)
            for stream in self._streams.get(proxy, ())
            for rejection in stream.session.rejections()
            if rejection.first <= waiter.revision <= rejection.last or stream.first_revision >= waiter.revision
        ]
        refusing = {nack.proxy for nack in nacks}
        settled = waiter.concerned - waiter.remaining - waiter.gone - refusing
        return WaitResult(
            tuple(sorted(settled)), tuple(nacks), tuple(sorted(waiter.remaining)), tuple(sorted(waiter.gone))
        )


def _same(old: XdsSnapshot, new: XdsSnapshot) -> bool:
    return len(old.layers) == len(new.layers) and all(a is b for a, b in zip(old.layers, new.layers, strict=True))


def _nack(proxy: str, rejection: Rejection) -> Nack:
    return Nack(proxy, short_type(rejection.type_url), rejection.name, rejection.message, rejection.origins)


def _status(stream: Stream) -> ProxyStatus:
    session = stream.session
    types = tuple(
        TypeStatus(
            short_type(type_url),
            one.wildcard,
            len(one.names),
            one.counters.sent,
            one.counters.acked,
            one.counters.nacked,
            len(one.pending) - len(one.rejected),
            len(one.rejected),
            one.counters.bytes,
        )
        for type_url, one in session.subscriptions.items()
    )
    last = session.last_nack
    return ProxyStatus(
        stream.proxy,
        session.variant,
        stream.connected,
        stream.peer.not_after,
        session.snapshot.revision,
        session.acked_revision,
        stream.bytes_sent,
        types,
        None if last is None else _nack(stream.proxy, last),
    )
