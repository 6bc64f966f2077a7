"""Silence: which proxies do not answer, over all their streams, so that nobody has to wait for them."""

from __future__ import annotations

from collections.abc import Container, Iterable

from weft.discovery.roster import Roster
from weft.discovery.stream import Stream


class Silence:
    """Times are monotonic seconds; a proxy that has owed an answer for `patience` is stuck.

    What a proxy owes when its stream ends it still owes on the next, until it has confirmed everything: else a proxy
    that comes and goes would be waited for anew each time. Who has never loaded anything, in the time of this process
    or, as far as is known, of the one before, holds nothing that could be out of date.
    """

    def __init__(self, roster: Roster, patience: float) -> None:
        self._roster = roster
        self._patience = patience
        self._owed: dict[str, float] = {}
        self._loaded: set[str] = set()

    def expect(self, proxies: Iterable[str]) -> None:
        """These may hold what an earlier process gave them."""
        self._loaded.update(proxies)

    def has_loaded(self, proxy: str) -> bool:
        """Whether the proxy may hold anything."""
        return proxy in self._loaded

    def answered(self, proxy: str) -> None:
        """The proxy has answered, or subscribed."""
        streams = self._roster.of(proxy)
        if any(stream.loaded for stream in streams):
            self._loaded.add(proxy)
        if proxy in self._owed and all(stream.is_current for stream in streams):
            del self._owed[proxy]

    def ended(self, stream: Stream) -> None:
        """A stream has ended, and what it owed is owed by the next."""
        since = stream.owes_since
        if since is not None:
            self._owed[stream.proxy] = min(since, self._owed.get(stream.proxy, since))

    def is_stuck(self, proxy: str, now: float) -> bool:
        """Whether the proxy is connected, and has owed an answer for too long."""
        streams = self._roster.of(proxy)
        owed = [stream.owes_since for stream in streams] + [self._owed.get(proxy)]
        return bool(streams) and any(since is not None and now - since >= self._patience for since in owed)

    def forget(self, registered: Container[str]) -> None:
        """Called about once a second: only registered and connected proxies are remembered."""
        gone = [one for one in self._owed if one not in registered and one not in self._roster]
        for proxy in gone:
            del self._owed[proxy]
        self._loaded = {one for one in self._loaded if one in registered or one in self._roster}
