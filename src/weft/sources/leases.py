"""Leases: how long a registration lasts, who holds it, who holds it alone, and the end of those that nobody holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weft.model.workload import Workload
from weft.sources.workloads import workload_key, workload_key_of_proxy
from weft.store.protocol import Store, StoreError

DEFAULT_LEASE_SECONDS = 15.0
RENEWALS_PER_SECOND = 2.0
"""Of agents whose proxies are connected, all together: the more there are, the less often each is asked to renew."""
LONGEST_WORD_SECONDS = 3600.0
_SOONEST_SECONDS = 0.05


@dataclass(slots=True)
class _Hold:
    """What this process knows of one registration. `end` is what it last wrote to the store, `word` the time until
    which the agent should have renewed again (None: this process has not heard the agent; 0: it has ended). `leased` is
    False for a Pod: there is no lease to renew, its registration is the cluster's."""

    streams: int = 0
    leased: bool = True
    end: float = 0.0
    word: float | None = None

    def speaks(self, now: float) -> bool:
        """Whether the agent's last word still counts."""
        return self.word is not None and self.word > now


class Leases:
    """The leases of one control plane (ADR 0022, 0036).

    A lease lasts `ttl` from its last renewal. A connected proxy holds it: this process renews it, all those near their
    end in one write, whether or not the agent lives: it does not carry the traffic. Once the proxy has gone, `ttl` is
    left. A node's proxy holds those of the workloads that it carries, too (`carriers`: their keys, and their nodes').
    How old an agent's last word may be is what it was told when it renewed: at least `ttl`, and longer the more proxies
    are connected. Who has not spoken by then is `silent`.

    No lease ends before one `ttl` has passed since the start, nor since a moment in which this process did not run
    (a suspended laptop, a stopped process) or turned callers away: agents could not renew then.
    """

    def __init__(
        self,
        store: Store,
        ttl: float = DEFAULT_LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
        renewals: float = RENEWALS_PER_SECOND,
    ) -> None:
        self._store = store
        self._clock = clock
        self._renewals = renewals
        self._holds: dict[str, _Hold] = {}
        self._connected: dict[str, _Hold] = {}
        self._released: dict[str, float] = {}
        self._awake = self._last = clock()
        self._carried: dict[str, str] = {}
        self.carriers: Callable[[], Iterable[tuple[str, str]]] = tuple
        self.ttl = ttl

    # proxies, told by the xDS server

    def attached(self, proxy: str, *, leased: bool = True) -> None:
        """A stream of `proxy` is connected; `leased`: its workload has a lease."""
        key = workload_key_of_proxy(proxy)
        hold = self._holds.setdefault(key, _Hold())
        hold.streams += 1
        hold.leased = leased
        if hold.word is None:  # told how often to renew by a control plane before this one
            hold.word = self._clock() + LONGEST_WORD_SECONDS
        self._connected[key] = hold
        self._released.pop(key, None)

    def detached(self, proxy: str) -> None:
        """A stream of `proxy` has ended."""
        key = workload_key_of_proxy(proxy)
        hold = self._connected.get(key)
        if hold is None:
            return
        hold.streams -= 1
        if hold.streams > 0:
            return
        del self._connected[key]
        now = self._clock()
        if hold.word and hold.leased:
            self._released[key] = now + self.ttl
        if not hold.speaks(now) or not hold.leased:
            del self._holds[key]

    # agents, told by the agent API

    def granted(self, key: str) -> dict[str, float]:
        """The lease of a registration, to be written together with it; the agent is heard when that has been done."""
        return {key: self._clock() + self.ttl}

    def heard(self, key: str, word: float) -> None:
        """The agent has just spoken, and need not speak again for `word` seconds."""
        now = self._clock()
        hold = self._holds.setdefault(key, _Hold())
        hold.end, hold.word = now + self.ttl, now + word
        self._released.pop(key, None)

    async def renew(self, key: str) -> float | None:
        """An agent's renewal. How long its word counts now, of which it should renew at a third; None if the
        registration has ended."""
        if await self._store.extend({key: self._clock() + self.ttl}):
            self.forget(key)
            return None
        word = self._word(key)
        self.heard(key, word)
        return word

    def spoken(self, key: str) -> float:
        """The agent of a Pod has spoken. How long its word counts, as for `renew`."""
        word = self._word(key)
        if (hold := self._connected.get(key)) is not None:
            hold.word = self._clock() + word
        return word

    def here(self, key: str) -> bool:
        """Whether the proxy is connected, or may be about to be since this process runs again."""
        return key in self._connected or self._clock() < self._awake + self.ttl

    async def held(self, key: str) -> bool:
        """Whether somebody holds the registration, or may do so who could not renew lately."""
        now = self._clock()
        hold = self._connected.get(key)
        if now < self._awake + self.ttl or (hold is not None and hold.word):
            return True
        return (await self._store.leases([key])).get(key, 0.0) > now

    def silent(self) -> tuple[str, ...]:
        """Registrations that only a proxy holds: their agents should have spoken by now."""
        now = self._clock()
        if now < self._awake + self.ttl:
            return ()
        return tuple(sorted(key for key, hold in self._connected.items() if hold.word and not hold.speaks(now)))

    def forget(self, key: str) -> None:
        """The registration has ended."""
        self._released.pop(key, None)
        hold = self._holds.get(key)
        if hold is not None and hold.streams:
            hold.word = 0.0
        else:
            self._holds.pop(key, None)

    def _word(self, key: str) -> float:
        """How long an agent's word counts: for all agents together, renewals are as rare as `renewals` says."""
        if self._carried.get(key, key) not in self._connected:
            return self.ttl
        return max(self.ttl, min(3 * len(self._connected) / self._renewals, LONGEST_WORD_SECONDS))

    def turned_away(self) -> None:
        """Somebody who called could not be served, who may have been an agent that wanted to renew."""
        self._awake = self._clock()

    # the end

    async def run(self) -> None:
        """Renew what connected proxies hold, and end what nobody holds, for ever."""
        first = 0.0
        while True:
            await asyncio.sleep(max(_SOONEST_SECONDS, min(self.ttl / 4, first - self._clock())))
            try:
                _, first = await self.expire()
            except StoreError:
                first = float("inf")  # the sources and the health check tell; nothing ends while the store is away

    async def expire(self) -> tuple[tuple[str, ...], float]:
        """End what has run out by now; the keys of what was ended, and when the next lease may end."""
        now = self._clock()
        if not 0 <= now - self._last < self.ttl / 2:
            self._awake = now
            for hold in self._holds.values():
                hold.end = 0.0  # by the clock as it was
                if hold.word:  # else it is over; an agent's own clock stood still, too, if its host was suspended
                    hold.word += now - self._last
        self._last = now
        await self._hold(now)
        grace = self._awake + self.ttl
        if now < grace:
            return (), grace
        ended, first = await self._store.expire(now)
        for key in ended:
            self.forget(key)
        return ended, first

    async def _hold(self, now: float) -> None:
        """Renew, in one write, what connected proxies hold and is near its end, and what they left."""
        ends, self._released = self._released, {}
        self._carried = dict(self.carriers())
        carried = [key for key, node in self._carried.items() if node in self._connected]
        holds = {**self._connected, **{key: self._holds.setdefault(key, _Hold()) for key in carried}}
        near = [(key, hold) for key, hold in holds.items() if hold.leased and hold.end < now + self.ttl / 2]
        ends |= {key: now + self.ttl for key, hold in near if hold.word or key in self._carried}
        if not ends:
            return
        try:
            await self._store.extend(ends)
        except StoreError:
            self._released = ends | self._released
            raise
        for key, hold in near:
            hold.end = max(hold.end, ends.get(key, 0.0))


def carriers_of(workloads: Iterable[Workload]) -> Iterator[tuple[str, str]]:
    """The keys of workloads that nodes carry, and those of their nodes: of those that name each other, for a lease that
    the workload's word alone held would not end when the node carries it no more."""
    every = tuple(workloads)
    willing: dict[str, list[Workload]] = {}
    for each in every:
        if each.carrier:
            willing.setdefault(each.carrier, []).append(each)
    for node in every:
        for each in node.node.taken(willing.get(node.proxy, ())) if node.node is not None else ():
            yield workload_key(each.namespace, each.name), workload_key_of_proxy(node.proxy)
