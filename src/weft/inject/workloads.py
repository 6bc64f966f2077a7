"""Manifests: where the pod, or the template of one, stands in each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weft.inject.names import Json, member
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath

_TEMPLATE: FieldPath = ("spec", "template")
TEMPLATES: Mapping[tuple[str, str], FieldPath] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""By group and kind."""


def pods_in(manifest: object, base: FieldPath = ()) -> Iterator[tuple[FieldPath, ObjectKey]]:
    """The paths to all pods and templates in `manifest`, which may be a List, with the object that has each."""
    if not isinstance(manifest, dict):
        return
    kind = str(manifest.get("kind") or "")
    items = manifest.get("items")
    if kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from pods_in(item, (*base, "items", index))
        return
    group = str(manifest.get("apiVersion") or "").rpartition("/")[0]
    path = TEMPLATES.get((group, kind))
    if path is None or not isinstance(at(manifest, (*path, "spec")), dict):
        return
    metadata = member(manifest, "metadata") or {}
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    yield (*base, *path), ObjectKey(group, kind, str(metadata.get("namespace") or ""), name)


def at(value: Any, path: FieldPath) -> Any:
    """What stands at `path`; None where nothing does."""
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = member(value, part)
    return value


def changed_at(value: Any, path: FieldPath, change: Callable[[Json], Json]) -> Any:
    """`value` with what stands at `path` changed; what is beside it stays the same object."""
    if not path:
        return change(value)
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return [changed_at(each, rest, change) if index == first else each for index, each in enumerate(value)]
    return {key: changed_at(each, rest, change) if key == first else each for key, each in value.items()}
