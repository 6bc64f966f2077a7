"""The Hub: offers every proxy what it should hold whenever the mesh changes, and answers questions about proxies.

It belongs to one event loop. `publish` is called by one task, the build loop; streams call in from theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Generic

from weft.aio.turns import Turns
from weft.discovery.budget import Budget
from weft.discovery.convergence import Convergence
from weft.discovery.delta import DeltaSession
from weft.discovery.history import History
from weft.discovery.limits import Limits
from weft.discovery.meter import Meter, NoMeter
from weft.discovery.observer import NoObserver, Observer
from weft.discovery.peer import Peer, belongs
from weft.discovery.problems import ProblemLog, nack_problem, stream_problems, stuck_problem
from weft.discovery.refusals import Verdicts
from weft.discovery.roster import Roster
from weft.discovery.shared import Shared
from weft.discovery.silence import Silence
from weft.discovery.snapshots import Compiler, MeshT, Snapshots
from weft.discovery.sotw import SotwSession
from weft.discovery.status import Lack, ProxyStatus, WaitResult, short_type, status_of
from weft.discovery.stream import Ending, Stream, StreamEndedError
from weft.discovery.subscription import Rejection
from weft.discovery.waiting import Waiters
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.xds.names import EncodedNames
from weft.xds.snapshot import XdsSnapshot, with_secrets_of


def _nothing(_: Workload) -> frozenset[str]:
    return frozenset()


def _trusted(_: Peer) -> str:
    return ""


class Hub(Generic[MeshT]):
    """See the module. `events` hears of every refusal as it happens (for the log and the audit).

    `remembered` names the on-demand clusters that a workload's proxy asked for in earlier times: it is given them again
    without being asked. `meter` counts what is sent and how long it takes. `distrusts` says why a peer is served no
    more, though its certificate has not expired (empty: it is).
    """

    def __init__(
        self,
        compiler: Compiler[MeshT],
        events: Callable[[Problem], None] | None = None,
        limits: Limits | None = None,
        observer: Observer | None = None,
        remembered: Callable[[Workload], frozenset[str]] = _nothing,
        meter: Meter | None = None,
        distrusts: Callable[[Peer], str] = _trusted,
    ) -> None:
        self.limits = limits or Limits()
        self.ready = asyncio.Event()
        self.budget = Budget(self.limits.flight_bytes, self.limits.small_response)
        self._events = events
        self._observer = observer or NoObserver()
        self._remembered = remembered
        self._distrusts = distrusts
        self._meter = meter or NoMeter()
        self._convergence = Convergence(self._meter)
        self._shared = Shared(self.limits.response_bytes)
        self._roster = Roster(self.limits, self._observer)
        self._snapshots: Snapshots[MeshT] = Snapshots(compiler, self._tell)
        self._silence = Silence(self._roster, self.limits.patience)
        self._waiters = Waiters(self._roster, self._silence)
        self._history = History()
        self._between: set[str] = set()
        self._publishing = False
        self._published = asyncio.Event()
        self._log = ProblemLog(self.limits.problems)

    # the build loop

    async def publish(self, mesh: MeshT, workloads: Mapping[str, Workload], revision: int) -> None:
        """Rebuild what connected proxies should hold and offer it to them. Gives way to other tasks in between.

        A step on the way to the next revision is published with the revision before; see `settled`.
        """
        began = time.monotonic()
        self._snapshots.start(mesh, workloads, revision)
        self._waiters.registered = workloads
        speaking = {name for name, workload in workloads.items() if not workload.carrier}
        if not self.ready.is_set():  # they hold what the process before this one gave them
            self._roster.expect(speaking, time.monotonic() + self.limits.restart)
            self._silence.expect(speaking)
            self._snapshots.prepare()
        self._publishing = True
        try:
            await self._offer_all()
        finally:
            self._publishing = False
        self._between |= self._absent()
        if revision > self._history.latest:
            self._await_answers(began)
            self._history.add(revision, self._between)
            self._between.clear()
        self._snapshots.finish(time.monotonic())
        self._shared.published()
        self.ready.set()
        published, self._published = self._published, asyncio.Event()
        published.set()

    def _await_answers(self, began: float) -> None:
        """Count the time from now on until the connected proxies that are concerned have answered."""
        connected = [one for one in self._between if self._roster.of(one) and self._silence.has_loaded(one)]
        if connected:
            self._convergence.published(began, [one for one in connected if not self._is_quiet(one)], time.monotonic())

    def _is_quiet(self, proxy: str) -> bool:
        return all(stream.is_quiet for stream in self._roster.of(proxy))

    async def _offer_all(self) -> None:
        turns = Turns()
        for proxy in tuple(self._roster.proxies()):
            workload = self._snapshots.workloads.get(proxy)
            if workload is not None and workload.node is not None:
                await self._make_ready(workload, turns)
            if self._rebuild(proxy):
                self._between.add(proxy)
            await turns.give()

    def _rebuild(self, proxy: str) -> bool:
        """Build and offer one proxy's snapshot; whether it changed."""
        streams = self._roster.of(proxy)
        if not streams:
            return False
        registered = self._snapshots.workloads.get(proxy)
        workload = registered or streams[-1].workload
        for stream in streams:
            if refusal := self._distrusts(stream.peer):
                stream.end(Ending("PERMISSION_DENIED", refusal, "identity-revoked"))
            elif not belongs(stream.peer, workload):  # what the new holder is given must not reach the former one
                message = f"{proxy!r} is now registered by another identity than {stream.peer.identity}"
                stream.end(Ending("PERMISSION_DENIED", message, "identity-refused"))
        before = self._snapshots.get(proxy)
        snapshot = self._snapshots.build(proxy, workload, before)
        if snapshot is None:
            return False
        if registered is None and before is not None:  # its lease has ended: it is told no secret that it does not have
            snapshot = with_secrets_of(before, snapshot)
        self._snapshots.set(proxy, snapshot)
        for stream in streams:
            if belongs(stream.peer, workload) and not self._distrusts(stream.peer):
                stream.workload = workload
                stream.offer(snapshot)
        if before is not None and snapshot.layers is before.layers:
            return False
        self._observer.offered(proxy, before, snapshot)
        return True

    # streams

    def may_ask(self, proxy: str) -> bool:
        """Whether requests of a proxy that has proven its name are read: not when it has asked for too much lately."""
        now = time.monotonic()
        return self._roster.allowance(proxy, now).has_some(now)

    async def prepare(self, workload: Workload) -> None:
        """Make what `attach` would take long to make for the proxy of a workload; others have their turn meanwhile."""
        if workload.node is not None:
            await self._make_ready(workload, Turns())

    async def _make_ready(self, workload: Workload, turns: Turns) -> None:
        for _ in self._snapshots.steps(workload):
            await turns.give()

    def attach(self, peer: Peer, workload: Workload, *, delta: bool) -> Stream:
        """A new stream of an identified proxy. Raises StreamEndedError if it cannot be served."""
        if refusal := self._distrusts(peer):
            raise StreamEndedError(Ending("PERMISSION_DENIED", refusal, "identity-revoked"))
        if delta and self._roster.superseded(peer):
            raise StreamEndedError(Ending("ABORTED", "another connection of this proxy has taken over"))
        streams = self._roster.of(peer.name)
        if self._roster.count >= self.limits.streams:
            raise StreamEndedError(Ending("RESOURCE_EXHAUSTED", "too many streams", "too-many-streams"))
        replaced = [stream for stream in streams if delta and isinstance(stream.session, DeltaSession)]
        if len(streams) - len(replaced) >= self.limits.streams_per_proxy:
            raise StreamEndedError(Ending("RESOURCE_EXHAUSTED", "too many streams of one proxy", "too-many-streams"))
        latest = self._snapshots.workloads.get(peer.name, workload)
        workload = latest if belongs(peer, latest) else workload
        known = self._snapshots.get(peer.name) if streams and belongs(peer, streams[-1].workload) else None
        snapshot = known or self._snapshots.build(peer.name, workload)
        if snapshot is None:
            raise StreamEndedError(Ending("UNAVAILABLE", "there is no configuration for this proxy yet"))
        make = DeltaSession if delta else SotwSession
        allowance = self._roster.allowance(peer.name, time.monotonic())
        session = make(snapshot, self._shared, self.limits, self._remembered(workload), allowance)
        stream = Stream(self, peer, workload, session, self.limits, allowance, self.budget)
        self._snapshots.set(peer.name, snapshot)
        if self._publishing:  # it is offered the new revision with its first load
            self._between.add(peer.name)
        self._roster.add(stream, replaced)
        for other in replaced:
            other.end(Ending("ABORTED", "another stream of this proxy has taken over"))
        return stream

    def detach(self, stream: Stream) -> None:
        """The stream has ended."""
        stream.session.close()
        self._silence.ended(stream)
        if self._roster.remove(stream, time.monotonic()):
            self._snapshots.forget(stream.proxy)
            self._convergence.settled(stream.proxy, time.monotonic())
        self._waiters.progress(stream.proxy)

    def progressed(self, stream: Stream) -> None:
        """A stream's client answered or subscribed."""
        self._silence.answered(stream.proxy)
        self._waiters.progress(stream.proxy)
        if self._convergence.awaits(stream.proxy) and self._is_quiet(stream.proxy):
            self._convergence.settled(stream.proxy, time.monotonic())

    def sent(self, type_url: str, size: int) -> None:
        """A response was written to a stream."""
        self._meter.sent(type_url, size)

    def refused(self, stream: Stream, rejections: tuple[Rejection, ...]) -> None:
        """A stream's client refused resources."""
        for rejection in rejections:
            self._meter.refused(rejection.type_url)
            self._tell(nack_problem(stream.proxy, rejection))

    def asked(self, stream: Stream, names: frozenset[str]) -> None:
        """A stream's client asked for clusters on demand."""
        self._observer.asked(stream.workload, names)

    def report(self, code: str, who: str, message: str) -> None:
        """Record a refused identity or a broken limit. `who` names the peer (an address or a proxy)."""
        problem = Problem(Severity.ERROR, code, message, Origin(who))
        if self._log.add(problem, time.monotonic()):
            self._tell(problem)

    def _tell(self, problem: Problem) -> None:
        if self._events is not None:
            self._events(problem)

    def inspect(self) -> None:
        """Called about once a second: end stuck streams (of many, a part at a time), forget old findings."""
        now = time.monotonic()
        for stream in self._roster.some():
            stream.inspect(now)
        self._roster.forget(now)
        self._convergence.inspect(now)
        self._silence.forget(self._snapshots.workloads)
        self._waiters.check_all()
        self._snapshots.inspect(now)
        if not self.budget.in_flight:
            self._shared.forget_bodies()

    # questions

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._roster.count

    @property
    def registered(self) -> int:
        """How many proxies there may be, by the registrations in force."""
        return len(self._snapshots.workloads)

    def connected(self) -> Collection[str]:
        """The names of connected proxies: a view that changes with them."""
        return self._roster.proxies()

    def given_to(self, proxy: str) -> XdsSnapshot | None:
        """What a connected proxy should hold: without what is on demand and it did not ask for."""
        streams = self._roster.of(proxy)
        return streams[-1].session.given() if streams else None

    def entitled_to(self, proxy: str) -> XdsSnapshot | None:
        """What a connected proxy may hold, with what is on demand."""
        return self._snapshots.get(proxy)

    def names_of(self, proxy: str) -> EncodedNames | None:
        """The names for a connected proxy's agent, if that asks for any."""
        snapshot = self._snapshots.get(proxy)
        return snapshot.names if snapshot is not None else None

    async def next_publication(self, timeout: float) -> None:
        """Wait until something is published, `timeout` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._published.wait()

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """All connected streams, by proxy name."""
        now = time.monotonic()
        found = (status_of(stream, stuck=self._silence.is_stuck(stream.proxy, now)) for stream in self._roster)
        return tuple(sorted(found, key=lambda status: (status.name, status.connected)))

    def problems(self) -> tuple[Problem, ...]:
        """What proxies refuse at present, what they ask for in vain, builds that fail, and peers refused lately."""
        now = time.monotonic()
        found = list(self._snapshots.failures())
        found += [stuck_problem(proxy) for proxy in self._roster.proxies() if self._silence.is_stuck(proxy, now)]
        verdicts, allowed = Verdicts(self._roster), self.limits.not_entitled
        of_streams = (each for one in self._roster for each in stream_problems(one, verdicts, allowed, now))
        found += islice(of_streams, max(0, self.limits.problems - len(found)))
        return tuple(found[: self.limits.problems]) + self._log.problems(now)

    async def wait_revision(
        self, revision: int, timeout: float, since: int | None = None, also: Collection[str] = ()
    ) -> WaitResult:
        """Wait until `revision` is published and every proxy whose configuration changed with it (with `since`: with
        any after that one, all if that is not remembered) has acknowledged or refused everything of it. A proxy that
        has disconnected is waited for only as long as it takes to come back, one that does not answer only as long as
        `patience`, and one that never loaded anything not at all. Concerned are `also` these, as far as they are
        connected: they may hold what another control plane gave them."""
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                while not self.ready.is_set() or self._history.latest < revision:
                    await self._published.wait()
        except TimeoutError:
            return WaitResult((), (), (), published=False)
        come = frozenset(proxy for proxy in also if proxy in self._roster)
        self._silence.expect(come)
        publication = self._history.covering(revision)
        if publication is None:
            return await self._waiters.wait(revision, self._present() | come, deadline - time.monotonic())
        concerned = publication.changed
        if since is not None:
            known = self._history.reaches(since)
            concerned = self._history.changed_between(since, publication.revision) if known else self._present()
        return await self._waiters.wait(publication.revision, concerned | come, deadline - time.monotonic())

    def lacks(self, proxy: str, revision: int) -> Lack | None:
        """What keeps a proxy from holding all of a revision that was published, or of a later one. None: nothing."""
        streams = self._roster.of(proxy)
        if not streams:
            return Lack("is not connected")
        for stream in streams:
            for rejection in stream.session.rejections():
                return Lack(f"{short_type(rejection.type_url)} {rejection.name}: {rejection.message}", refused=True)
        if not all(stream.loaded and stream.acked_revision >= revision for stream in streams):
            return Lack("has not confirmed it yet")
        return None

    async def settled(self, timeout: float) -> bool:
        """Wait until every connected proxy has acknowledged or refused all that it was offered; False: not in time."""
        return not (await self._waiters.wait(self._snapshots.revision, self._present(), timeout)).pending

    def longest_absence(self) -> float:
        """Seconds until the last of the registered proxies that are not connected is no longer waited for; 0: none."""
        now = time.monotonic()
        return max((self._roster.back_within(proxy, now) for proxy in self._absent()), default=0.0)

    def _absent(self) -> set[str]:
        return self._roster.absent(self._snapshots.workloads, time.monotonic())

    def _present(self) -> frozenset[str]:
        return frozenset(self._roster.proxies()) | self._absent()
