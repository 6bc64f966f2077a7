"""The journal: the latest requests that proxies noted, within a fixed number for each and for all."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weft.model.requests import RequestSeen

IN_ALL = 20_000
"""Requests that are kept at most: about 1.5 kB each, so 30 MB."""
_OF_ONE = 200
_LEAST = 10
_PROXIES = 4096


@dataclass(frozen=True, slots=True)
class Noted:
    """A request and the workload (``NAMESPACE/NAME``) whose proxy noted it."""

    workload: str
    seen: RequestSeen

    @property
    def proxy(self) -> str:
        """The proxy's name."""
        namespace, _, name = self.workload.partition("/")
        return f"{name}.{namespace}"


class Journal:
    """Rings of the latest requests, by workload. Nothing here grows beyond `in_all`."""

    def __init__(self, in_all: int = IN_ALL) -> None:
        self._in_all = in_all
        self._rings: OrderedDict[str, deque[RequestSeen]] = OrderedDict()
        self.left_out = 0

    def add(self, workload: str, requests: Iterable[RequestSeen], left_out: int = 0) -> None:
        """Note what a workload's proxy reported; the oldest make room."""
        self.left_out += left_out
        ring = self._rings.setdefault(workload, deque())
        self._rings.move_to_end(workload)
        ring.extend(requests)
        while len(self._rings) > min(_PROXIES, max(1, self._in_all // _LEAST)):
            self._rings.popitem(last=False)
        room = min(_OF_ONE, max(_LEAST, self._in_all // len(self._rings)))
        while len(ring) > room:
            ring.popleft()
        if sum(map(len, self._rings.values())) > self._in_all:
            for each in self._rings.values():
                while len(each) > room:
                    each.popleft()

    def __len__(self) -> int:
        return sum(map(len, self._rings.values()))

    def latest(
        self, wanted: Callable[[Noted], bool], limit: int, workloads: Iterable[str] | None = None
    ) -> tuple[Noted, ...]:
        """The latest that are `wanted`, the latest first; of these `workloads` only, if given."""
        found = sorted(filter(wanted, self._all(workloads)), key=lambda one: one.seen.time, reverse=True)
        return tuple(found[:limit])

    def _all(self, workloads: Iterable[str] | None) -> Iterator[Noted]:
        for workload in self._rings if workloads is None else workloads:
            for seen in self._rings.get(workload, ()):
                yield Noted(workload, seen)
