"""Operations on a list of named messages: filters of a chain, routes of a virtual host."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import Any

from weft.mesh.patches import Patch
from weft.xds.patches.messages import merged, message_from_json


def change_list(
    patch: Patch, items: Any, make: Callable[[], Any], chosen: Callable[[Any], bool], *, terminal: bool = False
) -> bool:
    """Do what a patch says to a list; whether anything changed. `chosen` are the items that its conditions are about,
    `make` an empty item; where the last item must stay last (`terminal`), ADD puts before it."""
    operation = patch.operation
    places = [index for index, item in enumerate(items) if chosen(item)]
    if operation == "REMOVE":
        for index in reversed(places):
            del items[index]
        return bool(places)
    value = message_from_json(patch.value, make())
    if operation == "MERGE":
        for index in places:
            merged(items[index], value)
        return bool(places)
    if operation == "REPLACE":
        for index in places:
            items[index].CopyFrom(value)
        return bool(places)
    if operation in ("INSERT_BEFORE", "INSERT_AFTER"):
        if not places:
            return False
        items.insert(places[0] + (operation == "INSERT_AFTER"), value)
        return True
    items.insert(_place_of_new(items, first=operation == "INSERT_FIRST", terminal=terminal), value)
    return True


def _place_of_new(items: MutableSequence[Any], *, first: bool, terminal: bool) -> int:
    if first:
        return 0
    return max(len(items) - 1, 0) if terminal else len(items)
