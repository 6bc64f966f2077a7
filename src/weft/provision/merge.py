"""Merging of what parameters say over what is there, by the rules of Kubernetes' strategic merge as far as the shapes
need them.

Mappings are merged, null takes a field away, lists of a shape with a key are merged by it (``$patch: delete`` takes an
entry away, others are added at the end), and everything else is replaced.
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.provision.shapes import DELETE, PATCH, Fields, Items, Shape, Texts


def merged(there: Any, said: Any, shape: Shape) -> Any:
    """`there` with what is `said`, which is of the shape. Both stay as they are; the result may share parts."""
    if isinstance(shape, Fields | Texts) and isinstance(said, Mapping):
        found = dict(there) if isinstance(there, Mapping) else {}
        for name, value in said.items():
            if value is None:
                found.pop(name, None)
            elif isinstance(shape, Texts):
                found[name] = value
            else:
                found[name] = merged(found.get(name), value, shape.fields[name])
        return found
    if isinstance(shape, Items) and shape.key:
        return _joined(there or (), said, shape)
    if isinstance(shape, Items):
        return [merged(None, each, shape.each) for each in said]
    return said


def _joined(there: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]], shape: Items) -> list[Any]:
    found = list(there)
    for each in said:
        place = _place(found, each, shape)
        if each.get(PATCH) == DELETE:
            if place is not None:
                del found[place]
        elif place is None:
            found.append(merged(None, each, shape.each))
        else:
            found[place] = merged(found[place], each, shape.each)
    return found


def _place(there: Sequence[Mapping[str, Any]], said: Mapping[str, Any], shape: Items) -> int | None:
    """Where the entry of the same key is: the first one, as far as the key is said."""
    key = {name: said[name] for name in shape.key if name in said}
    found = (index for index, each in enumerate(there) if all(each.get(name) == key[name] for name in key))
    return next(found, None)
