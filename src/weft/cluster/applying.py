"""Server-side apply, as one field manager: what would change, changing it, and removing what is not wanted any more.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from weft.cluster.reading import member, name_of, namespace_of
from weft.sources.kubernetes.client import JSON, JSON_PATCH, ApiClient, ApiError
from weft.sources.kubernetes.server_objects import Json, applied, stated

MANAGER = "weft-install"
_NOT_FOUND, _CONFLICT = 404, 409
_CLUSTER_WIDE = frozenset(
    (
        "Namespace",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "GatewayClass",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    )
)
_OTHER_PLURALS = {"GatewayClass": "gatewayclasses", "NetworkPolicy": "networkpolicies"}


class ConflictError(Exception):
    """Somebody else owns fields that are to be changed; the message names who and which."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as paths have it: `group` (empty: the core group), `version` and `plural`."""

    group: str
    version: str
    plural: str
    name: str

    @property
    def cluster_wide(self) -> bool:
        """Whether its objects are in no namespace."""
        return self.name in _CLUSTER_WIDE

    @property
    def group_kind(self) -> str:
        """``Kind.group``, as ApplySets have it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    def path(self, namespace: str, name: str = "") -> str:
        """Where its objects are listed, or where one of them stands."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = "" if self.cluster_wide else f"/namespaces/{namespace}"
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")


def kind_of(thing: Mapping[str, Any]) -> Kind:
    """The kind of an object."""
    group, _, version = str(thing["apiVersion"]).rpartition("/")
    name = str(thing["kind"])
    plural = _OTHER_PLURALS.get(name, f"{name.lower()}s")
    return Kind(group, version, plural, name)


def path_of(thing: Mapping[str, Any]) -> str:
    """Where an object stands."""
    return kind_of(thing).path(namespace_of(thing), name_of(thing))


def title(thing: Mapping[str, Any]) -> str:
    """What people call an object: ``Service weft-system/weft``."""
    namespace = namespace_of(thing)
    return f"{thing['kind']} {namespace}/{name_of(thing)}" if namespace else f"{thing['kind']} {name_of(thing)}"


async def apply(client: ApiClient, thing: Json, *, force: bool = False, dry: bool = False) -> Json:
    """The object as it is, or with `dry` would be, once `thing` is applied. ConflictError unless `force`; ApiError."""
    try:
        return await applied(client, path_of(thing), thing, MANAGER, force=force, dry=dry)
    except ApiError as error:
        if error.status == _CONFLICT:
            raise ConflictError(f"{title(thing)}: {error}") from error
        raise ApiError(f"{title(thing)}: {error}", error.status, error.after) from error


async def delete(client: ApiClient, path: str) -> bool:
    """Delete what stands at `path`, and what it owns after it; whether it was there. ApiError."""
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    try:
        await client.send("DELETE", path, msgspec.json.encode(options), JSON)
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    return True


def difference(before: Json | None, after: Json) -> str:
    """What differs, as a unified diff of YAML; empty if nothing does that somebody has written."""
    old, new = ("" if before is None else _text(before)), _text(after)
    name = title(after)
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm="", n=2)
    return "\n".join(lines)


def _text(thing: Json) -> str:
    return yaml.safe_dump(stated(thing), sort_keys=True, width=120, allow_unicode=True)


# -- taking over what others have applied ------------------------------------------------------------------------------


async def take_over(client: ApiClient, thing: Json, managers: frozenset[str]) -> None:
    """Make the fields of a live object that `managers` own ours, so that applying takes away those that are not wanted.
    ApiError, of 409 too: the object was changed meanwhile."""
    entries = member(thing, "metadata", "managedFields") or []
    theirs = [each for each in entries if _is_of(each, managers)]
    if not theirs:
        return
    fields: Json = {}
    for each in (*theirs, *(one for one in entries if one.get("manager") == MANAGER)):
        fields = _united(fields, each.get("fieldsV1") or {})
    rest = [each for each in entries if not _is_of(each, managers) and each.get("manager") != MANAGER]
    own = {
        "manager": MANAGER,
        "operation": "Apply",
        "apiVersion": thing["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "time": theirs[0].get("time"),
    }
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [*rest, own]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": thing["metadata"]["resourceVersion"]},
    ]
    await client.send("PATCH", path_of(thing), msgspec.json.encode(patch), JSON_PATCH)


def _is_of(entry: Json, managers: frozenset[str]) -> bool:
    return entry.get("manager") in managers and not entry.get("subresource")


def _united(one: Json, other: Json) -> Json:
    """Fields that either has."""
    found = dict(one)
    for key, below in other.items():
        found[key] = _united(found.get(key) or {}, below or {})
    return found
