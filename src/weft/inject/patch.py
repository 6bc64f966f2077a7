"""The JSON Patch that makes one object of another.

https://www.rfc-editor.org/rfc/rfc6902
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.inject.names import Json


def json_patch(before: Json, after: Json, path: str = "") -> list[Json]:
    """The operations that make `after` of `before`: mappings are compared, lists are replaced whole."""
    return list(_operations(before, after, path))


def _operations(before: Json, after: Json, path: str) -> Iterator[Json]:
    for key in before:
        if key not in after:
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
    for key, value in after.items():
        here = f"{path}/{_escaped(key)}"
        if key not in before:
            yield {"op": "add", "path": here, "value": value}
        elif isinstance(value, dict) and isinstance(before[key], dict):
            yield from _operations(before[key], value, here)
        elif value != before[key]:
            yield {"op": "replace", "path": here, "value": value}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
