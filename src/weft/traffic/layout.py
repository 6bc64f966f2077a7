"""Where the graph's nodes stand: callers left, callees right, few crossings, and nobody moves because another came.

Columns are longest paths from who is called by nobody (in circles, by the fewest calls), rows are chosen by the
middle of a node's neighbours. A node that stood somewhere stays; only one that is called by somebody who now stands
beside it or further right moves to the right of that one. New nodes take free places. The same input gives the same
layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from weft.traffic.circles import callers_first, depths

NODE_WIDTH = 168.0
NODE_HEIGHT = 64.0
COLUMN_STEP = 328.0
ROW_STEP = 96.0
QUIET_STEP = NODE_WIDTH + 24.0
MARGIN = 24.0
_SWEEPS = 6
_ROOM = 4
"""Rows under the nodes with calls are kept free up to a multiple of it, so that those below seldom move."""
_QUIET_COLUMNS = 5
"""How many nodes without calls stand in one row under the others, at least."""
_GONE = 20
"""So many nodes that are gone keep their places, and half as many again as there are nodes."""
_DRIFT = 4
"""A picture that would grow so many columns wider than it need be is laid out anew: nodes that call each other by
turns, now the one and now the other, would move it to the right for ever."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A place: column from the left, row from the top. `quiet`: among the nodes without calls, which have columns and
    rows of their own under the others."""

    column: int
    row: int
    quiet: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The slots by node, also of some that are gone for now, so that they come back to where they were; those gone for
    longest are first, and are forgotten first. Nodes without calls begin at row `quiet_from`."""

    slots: Mapping[str, Slot]
    quiet_from: int = 0


EMPTY = Layout(MappingProxyType({}))
Pair = tuple[str, str]
_Neighbours = dict[str, list[str]]


def lay_out(names: Sequence[str], calls: Iterable[Pair], former: Layout | None = None) -> Layout:
    """Slots for all `names`, in whose order ties are decided, so that calls go from left to right."""
    former = former or EMPTY
    before = _remembered(former.slots, names)
    known = set(names)
    pairs = [(caller, callee) for caller, callee in calls if caller != callee and {caller, callee} <= known]
    callees: _Neighbours = {name: [] for name in names}
    near: _Neighbours = {name: [] for name in names}
    for caller, callee in pairs:
        callees[caller].append(callee)
        near[caller].append(callee)
        near[callee].append(caller)
    loud = [name for name in names if near[name] or (name in before and not before[name].quiet)]
    kept = {name: slot for name, slot in before.items() if not slot.quiet}
    columns = _columns(loud, callees, {name: slot.column for name, slot in kept.items()})
    widest = max((slot.column for slot in kept.values()), default=0)
    if kept and max(columns.values(), default=0) > max(widest, _widest(loud, callees) + _DRIFT):
        return lay_out(names, pairs)
    kept = {name: slot for name, slot in kept.items() if columns.get(name, slot.column) == slot.column}
    new = [name for name in loud if name not in kept]
    rows = _first_rows(new, columns, near) if not kept else _free_rows(new, columns, near, kept)
    slots = kept | {name: Slot(columns[name], rows[name]) for name in new}
    quiet = [name for name in names if name not in slots]
    needed = max((slot.row + 1 for slot in slots.values()), default=0)
    fits = needed <= former.quiet_from <= 2 * needed + _ROOM
    quiet_from = former.quiet_from if fits else -(-needed // _ROOM) * _ROOM
    slots |= _quiet_slots(quiet, before, max(columns.values(), default=0))
    return Layout(MappingProxyType(slots), quiet_from)


def _remembered(before: Mapping[str, Slot], names: Sequence[str]) -> dict[str, Slot]:
    """The former slots, those of nodes that are gone first, and of these not more than about half as many as there are
    nodes: callers that come and go under ever new names must not fill the picture."""
    here = set(names)
    gone = [name for name, slot in before.items() if name not in here and not slot.quiet]
    kept = gone[-(_GONE + len(here) // 2) :]
    return {name: before[name] for name in (*kept, *[name for name in before if name in here])}


def position(slot: Slot, layout: Layout) -> tuple[float, float]:
    """The middle of a node."""
    step = QUIET_STEP if slot.quiet else COLUMN_STEP
    row = slot.row + (layout.quiet_from if slot.quiet else 0)
    return NODE_WIDTH / 2 + MARGIN + slot.column * step, NODE_HEIGHT / 2 + MARGIN + row * ROW_STEP


def extent(layout: Layout, names: Iterable[str]) -> tuple[float, float]:
    """The width and height that hold these nodes, with a margin."""
    at = [position(layout.slots[name], layout) for name in names]
    width = max((x for x, _ in at), default=0.0) + NODE_WIDTH / 2 + MARGIN
    height = max((y for _, y in at), default=0.0) + NODE_HEIGHT / 2 + MARGIN
    return width, height


def _widest(names: Sequence[str], callees: _Neighbours) -> int:
    """The last column of a picture that nobody has seen yet."""
    return max(_columns(names, callees, {}).values(), default=0)


def _columns(names: Sequence[str], callees: _Neighbours, least: Mapping[str, int]) -> dict[str, int]:
    """The longest path to each, none less than `least`; in a circle, of calls further away from who begins it."""
    depth = depths(names, callees)
    groups = callers_first(names, callees)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    columns = {name: least.get(name, 0) for name in names}
    for group in groups:
        for name in sorted(group, key=lambda name: depth[name]):
            for callee in callees[name]:
                if group_of[callee] != group_of[name] or depth[callee] > depth[name]:
                    columns[callee] = max(columns[callee], columns[name] + 1)
    return columns


def _first_rows(names: Sequence[str], columns: Mapping[str, int], near: _Neighbours) -> dict[str, int]:
    """Rows of a picture that nobody has seen yet: each column in the order of its neighbours' middles, sweeping to and
    fro, and in the middle of the tallest."""
    ordered: dict[int, list[str]] = {}
    for name in names:
        ordered.setdefault(columns[name], []).append(name)
    at = {name: index - len(column) / 2 for column in ordered.values() for index, name in enumerate(column)}
    for sweep in range(_SWEEPS):
        for number in sorted(ordered, reverse=bool(sweep % 2)):
            column = ordered[number]
            column.sort(key=lambda name: _middle(name, near, at))
            at.update((name, index - len(column) / 2) for index, name in enumerate(column))
    tallest = max((len(column) for column in ordered.values()), default=0)
    return {
        name: index + (tallest - len(column)) // 2 for column in ordered.values() for index, name in enumerate(column)
    }


def _middle(name: str, near: _Neighbours, at: Mapping[str, float]) -> float:
    others = [at[other] for other in near[name] if other in at]
    return sum(others) / len(others) if others else at[name]


def _free_rows(
    names: Sequence[str], columns: Mapping[str, int], near: _Neighbours, kept: Mapping[str, Slot]
) -> dict[str, int]:
    """Rows for who is new: the free one of its column that is nearest to the middle of its neighbours."""
    taken: dict[int, set[int]] = {}
    for slot in kept.values():
        taken.setdefault(slot.column, set()).add(slot.row)
    at = {name: float(slot.row) for name, slot in kept.items()}
    rows: dict[str, int] = {}
    for name in sorted(names, key=lambda name: columns[name]):
        others = [at[other] for other in near[name] if other in at]
        used = taken.setdefault(columns[name], set())
        rows[name] = _nearest_free(used, sum(others) / len(others) if others else 0.0)
        used.add(rows[name])
        at[name] = float(rows[name])
    return rows


def _nearest_free(used: set[int], wanted: float) -> int:
    distance = len(used) + 1 + int(wanted)
    start = max(0, int(wanted) - distance)
    return min(
        (row for row in range(start, int(wanted) + distance + 1) if row not in used),
        key=lambda row: (abs(row - wanted), row),
    )


def _quiet_slots(names: Sequence[str], before: Mapping[str, Slot], last: int) -> dict[str, Slot]:
    """Nodes without calls stand in rows under the others; who is new takes the next free place."""
    across = max(_QUIET_COLUMNS, int((last + 1) * COLUMN_STEP / QUIET_STEP))
    listed = set(names)
    found = {name: slot for name, slot in before.items() if slot.quiet and name in listed}
    taken = {(slot.column, slot.row) for slot in found.values()}
    place = 0
    for name in names:
        if name in found:
            continue
        while (place % across, place // across) in taken:
            place += 1
        found[name] = Slot(place % across, place // across, quiet=True)
        place += 1
    return found
