"""What changed between two pictures of the mesh, so that a page is sent that and no more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Picture = Mapping[str, Any]
"""Part -> value: what one page shows at one moment. Values are never changed, only replaced."""
_LISTS = {"edges": ("from", "to"), "nodes": ("id",)}
"""Members of a part that are long lists, and what names an item of them."""


def changes(old: Picture, new: Picture) -> dict[str, Any]:
    """The parts of `new` that differ from `old`; of a part with long lists only the items that differ.

    ``{"set": {part: value}, "patch": {part: {"set": {…}, "items": {list: [changed]}, "gone": {list: [names]}}}}``,
    empty when nothing changed. Parts are never taken away.
    """
    whole: dict[str, Any] = {}
    patched: dict[str, Any] = {}
    for part, value in new.items():
        before = old.get(part)
        if before is value or before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict) and any(_is_list(value.get(one)) for one in _LISTS):
            patched[part] = _patch(before, value)
        else:
            whole[part] = value
    found = {"set": whole, "patch": patched}
    return {name: one for name, one in found.items() if one}


def _patch(before: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    items: dict[str, list[Any]] = {}
    gone: dict[str, list[str]] = {}
    for name in _LISTS:
        was, now = _by_name(name, before.get(name)), _by_name(name, value.get(name))
        items[name] = [one for key, one in now.items() if was.get(key) != one]
        gone[name] = [key for key in was if key not in now]
    plain = {key: one for key, one in value.items() if key not in _LISTS and before.get(key) != one}
    return {
        "set": plain,
        "items": {name: found for name, found in items.items() if found},
        "gone": {name: found for name, found in gone.items() if found},
    }


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _by_name(name: str, items: object) -> dict[str, Any]:
    members = _LISTS[name]
    rows = items if isinstance(items, list | tuple) else ()
    return {" ".join(str(row.get(member, "")) for member in members): row for row in rows}
