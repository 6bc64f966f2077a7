"""The record of an installation: a ConfigMap with its settings and version, which is the parent of an ApplySet whose
members are its objects, so that those which a later version does not have any more are found.

https://git.k8s.io/enhancements/keps/sig-cli/3659-kubectl-apply-prune/README.md
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from weft import __version__
from weft.cluster.applying import Kind, kind_of
from weft.cluster.manifests import Settings
from weft.cluster.reading import annotations_of, member, namespace_of
from weft.model.revisions import DEFAULT, Revision
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.server_objects import Json, live

NAME = "weft-install"
"""Who manages the objects; and the record of the default, that of another revision has its name behind it."""
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "applyset.kubernetes.io/part-of"
ID, _TOOLING = "applyset.kubernetes.io/id", "applyset.kubernetes.io/tooling"
PART_OF_WEFT = {"app.kubernetes.io/part-of": "weft"}
_CONTAINS = "applyset.kubernetes.io/contains-group-kinds"
_MORE = "applyset.kubernetes.io/additional-namespaces"


class RecordError(Exception):
    """A record that cannot be read: another version has written it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was installed: `kinds` are those of its objects, as ``Kind.group``, `namespaces` where they are."""

    settings: Settings
    version: str
    kinds: frozenset[str]
    namespaces: frozenset[str]


def record_name(revision: str = DEFAULT) -> str:
    """What the record of a revision is called."""
    return f"{NAME}{Revision(revision).suffix}"


def record_path(namespace: str, revision: str = DEFAULT) -> str:
    """Where the record stands."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{record_name(revision)}"


def applyset_id(namespace: str, revision: str = DEFAULT) -> str:
    """The id of the ApplySet whose parent is the record."""
    digest = hashlib.sha256(f"{record_name(revision)}.{namespace}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


def member_labels(namespace: str, revision: str = DEFAULT) -> dict[str, str]:
    """What an object of the installation is labelled with."""
    return {MANAGED_BY: NAME, PART_OF: applyset_id(namespace, revision)}


async def read_record(client: ApiClient, namespace: str, revision: str = DEFAULT) -> Record | None:
    """The record of a revision in `namespace`, if there is one. RecordError, ApiError."""
    found = await live(client, record_path(namespace, revision))
    if found is None:
        return None
    data = member(found, "data") or {}
    try:
        settings = msgspec.json.decode(str(data.get("settings", "")), type=Settings)
    except msgspec.MsgspecError as error:
        about = f"ConfigMap {namespace}/{record_name(revision)}"
        text = f"{about} was written by weft {data.get('version', '?')}, and this is {__version__}"
        raise RecordError(f"{text}: {error}") from error
    kinds, more = (frozenset(annotations_of(found).get(key, "").split(",")) - {""} for key in (_CONTAINS, _MORE))
    return Record(settings, str(data.get("version", "")), kinds, more | {namespace})


def record_of(settings: Settings, members: Iterable[Json], before: Record | None) -> Json:
    """The record of an installation; kinds and namespaces of the one `before` stay until its objects are gone."""
    kinds = {kind_of(each).group_kind for each in members} | (before.kinds if before is not None else set())
    inside = {namespace_of(each) for each in members} | (before.namespaces if before is not None else set())
    more = ",".join(sorted(inside - {"", settings.namespace}))
    metadata = {
        "name": record_name(settings.revision),
        "namespace": settings.namespace,
        "labels": {ID: applyset_id(settings.namespace, settings.revision), **PART_OF_WEFT, MANAGED_BY: NAME},
        "annotations": {_TOOLING: f"weft/{__version__}", _CONTAINS: ",".join(sorted(kinds)), _MORE: more},
    }
    data = {"settings": msgspec.json.encode(settings, order="sorted").decode(), "version": __version__}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


_VERSIONS = {
    "": "v1",
    "apps": "v1",
    "autoscaling": "v2",
    "policy": "v1",
    "networking.k8s.io": "v1",
    "rbac.authorization.k8s.io": "v1",
    "admissionregistration.k8s.io": "v1",
    "gateway.networking.k8s.io": "v1",
    "monitoring.coreos.com": "v1",
}
"""By group: the version in which objects are looked for that are not wanted any more."""


def kinds_of(record: Record) -> list[Kind]:
    """The kinds of a record's objects, of groups that this version knows."""
    found = []
    for each in sorted(record.kinds):
        name, _, group = each.partition(".")
        if group in _VERSIONS:
            found.append(kind_of({"apiVersion": f"{group}/{_VERSIONS[group]}".lstrip("/"), "kind": name}))
    return found
