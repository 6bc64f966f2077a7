"""Circles in a graph of calls: which nodes call each other in the end, and an order with callers first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def callers_first(names: Sequence[str], callees: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The nodes in groups, callers' before callees'; those of a group reach each other (Tarjan's strongly connected
    components). A node in no circle is a group of its own."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: dict[str, None] = {}
    groups: list[list[str]] = []
    for root in names:
        if root in index:
            continue
        path = [(root, iter(callees[root]))]
        index[root] = lowest[root] = len(index)
        open_[root] = None
        while path:
            name, rest = path[-1]
            following = next((callee for callee in rest if callee not in index), None)
            if following is not None:
                index[following] = lowest[following] = len(index)
                open_[following] = None
                path.append((following, iter(callees[following])))
                continue
            path.pop()
            lowest[name] = min([lowest[name], *(lowest[one] for one in callees[name] if one in open_)])
            if lowest[name] == index[name]:
                groups.append(_close(open_, name))
    return groups[::-1]


def _close(open_: dict[str, None], first: str) -> list[str]:
    """Take what was opened since `first`."""
    group: list[str] = []
    while not group or group[-1] != first:
        group.append(open_.popitem()[0])
    return group


def depths(names: Sequence[str], callees: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The fewest calls to each node from who is called by nobody, else from the first that nobody has reached yet."""
    called = {callee for name in names for callee in callees[name]}
    found: dict[str, int] = {}
    _spread([name for name in names if name not in called], callees, found)
    for name in names:
        if name not in found:
            _spread([name], callees, found)
    return found


def _spread(front: list[str], callees: Mapping[str, Sequence[str]], found: dict[str, int]) -> None:
    found.update((name, 0) for name in front)
    depth = 0
    while front:
        depth += 1
        front = list(dict.fromkeys(one for name in front for one in callees[name] if one not in found))
        found.update((name, depth) for name in front)
