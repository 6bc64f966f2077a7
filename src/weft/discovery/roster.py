"""The Roster: which proxies have streams open, and which are about to come back."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator

from weft.discovery.allowance import Allowance
from weft.discovery.limits import Limits
from weft.discovery.observer import Observer
from weft.discovery.peer import Peer
from weft.discovery.stream import Stream

_AT_ONCE = 100
_SUPERSEDED = 4
"""Connections that are remembered for each proxy."""
_ROUND = 10
"""A thousand streams that rest cost something only if each is looked at every second."""


class Roster:
    """Streams by proxy. Times are monotonic seconds."""

    def __init__(self, limits: Limits, observer: Observer) -> None:
        self._limits = limits
        self._observer = observer
        self._streams: dict[str, tuple[Stream, ...]] = {}
        self._count = 0
        self._round: list[Stream] = []
        self._awaited: dict[str, float] = {}
        self._allowances: dict[str, Allowance] = {}
        self._superseded: dict[str, tuple[str, ...]] = {}

    def __contains__(self, proxy: str) -> bool:
        return proxy in self._streams

    def __iter__(self) -> Iterator[Stream]:
        """All streams; they may change meanwhile."""
        for streams in tuple(self._streams.values()):
            yield from streams

    def some(self) -> list[Stream]:
        """A part of the streams: whoever calls often sees each in at most `_ROUND` calls."""
        if not self._round:
            self._round = list(self)
        part = max(_AT_ONCE, -(-self._count // _ROUND))
        chosen = self._round[-part:]
        del self._round[-part:]
        return chosen

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._count

    def proxies(self) -> Collection[str]:
        """Connected proxies: a view that changes with them."""
        return self._streams.keys()

    def of(self, proxy: str) -> tuple[Stream, ...]:
        """A proxy's streams, oldest first."""
        return self._streams.get(proxy, ())

    def add(self, stream: Stream, replaced: Container[Stream] = ()) -> None:
        """A new stream, instead of some of the proxy's earlier ones."""
        before = self.of(stream.proxy)
        after = (*(other for other in before if other not in replaced), stream)
        gone = {one.peer.connection for one in before if one in replaced} - {stream.peer.connection}
        if gone:
            self._superseded[stream.proxy] = (*self._superseded.get(stream.proxy, ()), *gone)[-_SUPERSEDED:]
        self._count += len(after) - len(before)
        self._streams[stream.proxy] = after
        if not before:
            self._observer.attached(stream.proxy)

    def superseded(self, peer: Peer) -> bool:
        """Whether another connection has taken over from this one, and the proxy still has a stream: where one Envoy
        takes over from another, both would else push each other out until the first one ends."""
        return peer.connection != "" and peer.connection in self._superseded.get(peer.name, ())

    def remove(self, stream: Stream, now: float) -> bool:
        """The stream has ended. Whether the proxy has left with it; it is expected to be back soon."""
        before = self.of(stream.proxy)
        after = tuple(other for other in before if other is not stream)
        self._count += len(after) - len(before)
        if after or not before:
            if after:
                self._streams[stream.proxy] = after
            return False
        del self._streams[stream.proxy]
        self._superseded.pop(stream.proxy, None)
        self._awaited[stream.proxy] = now + self._limits.reconnect
        self._observer.detached(stream.proxy)
        return True

    def expect(self, proxies: Iterable[str], end: float) -> None:
        """These are about to connect, until `end`."""
        self._awaited.update((proxy, end) for proxy in proxies if proxy not in self._streams)

    def absent(self, registered: Container[str], now: float) -> set[str]:
        """Registered proxies that are not connected at the moment, but are about to be again."""
        return {
            proxy
            for proxy, end in self._awaited.items()
            if now < end and proxy in registered and proxy not in self._streams
        }

    def back_within(self, proxy: str, now: float) -> float:
        """For how many seconds a proxy that is not connected is still waited for; not positive: not any more."""
        return self._awaited.get(proxy, now) - now

    def allowance(self, proxy: str, now: float) -> Allowance:
        """What the proxy may ask for, over all its streams."""
        return self._allowances.setdefault(proxy, Allowance(self._limits, now))

    def forget(self, now: float) -> None:
        """Called about once a second: who did not come back is not waited for any more."""
        for proxy in [proxy for proxy, end in self._awaited.items() if now >= end]:
            del self._awaited[proxy]
        for proxy in [name for name, one in self._allowances.items() if name not in self._streams and one.unused(now)]:
            del self._allowances[proxy]
