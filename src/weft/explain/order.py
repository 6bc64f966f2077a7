"""The order of hops: who called whom in one request, from what proxies noted of it on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.explain.journal import Noted

_CLOCKS = 2.0
"""Seconds by which the clocks of two hosts may differ."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Requests in the order of the calls, each caller before its callee; `below` has, for the index of each, those of
    what it called."""

    steps: tuple[Noted, ...]
    below: Mapping[int, tuple[int, ...]]


def ladder_of(found: Iterable[Noted]) -> Ladder:
    """Who called whom: what a caller's proxy noted stands above what the callee's noted of the same call (of each try),
    and that above the calls that the callee made meanwhile."""
    given = sorted(found, key=lambda one: one.seen.time)
    parents: dict[int, int] = {}
    taken: set[int] = set()
    for index, one in enumerate(given):
        if one.seen.side == "inbound":
            callers = [each for each, other in enumerate(given) if _calls(other, one)]
            free = [each for each in callers if each not in taken or given[each].seen.attempts > 1]
            if free:
                parents[index] = free[0]
                taken.add(free[0])
    for index, one in enumerate(given):
        if one.seen.side == "outbound":
            served = [each for each, other in enumerate(given) if _serves(other, one)]
            if served:
                parents[index] = served[-1]
    children: dict[int | None, list[int]] = {}
    for index in range(len(given)):
        children.setdefault(parents.get(index), []).append(index)
    order: list[int] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        index = waiting.pop()
        order.append(index)
        waiting += children.get(index, [])[::-1]
    places = {index: place for place, index in enumerate(order)}
    below = {places[index]: tuple(places[each] for each in found) for index, found in children.items()
             if index is not None}  # fmt: skip
    return Ladder(tuple(given[index] for index in order), below)


def _calls(caller: Noted, callee: Noted) -> bool:
    """Whether both noted one call, as its two sides."""
    if caller.seen.side == "inbound" or caller.seen.id != callee.seen.id:
        return False
    if caller.seen.peer and caller.seen.peer != callee.proxy:
        return False
    if callee.seen.peer and callee.seen.peer != caller.proxy:
        return False
    return abs(caller.seen.time - callee.seen.time) <= _CLOCKS + caller.seen.duration_ms / 1000


def _serves(inbound: Noted, call: Noted) -> bool:
    """Whether a call was made by an application while it answered a request."""
    began, ended = inbound.seen.time, inbound.seen.time + inbound.seen.duration_ms / 1000
    same = inbound.seen.id == call.seen.id or (inbound.seen.trace and inbound.seen.trace == call.seen.trace)
    return (
        inbound.seen.side == "inbound"
        and inbound.workload == call.workload
        and bool(same)
        and began - 0.001 <= call.seen.time <= ended + 0.001
    )
