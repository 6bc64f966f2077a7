"""Secrets and ConfigMaps with no more than the entries that are looked at. Pure.

Annotations go too: what ``kubectl apply`` last sent stands in one of them, values and all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from weft.mesh.uses import OVERLAYS
from weft.model.document import Document, ObjectKey
from weft.model.key_pairs import CHAIN, KEY
from weft.model.origin import FieldLines
from weft.model.unreadable import Unreadable
from weft.schema.decode import canonical_json
from weft.schema.embedded import SETTINGS_KEYS
from weft.schema.registry import Kind
from weft.sources.kubernetes.documents import PREFIX, Reading, reading_of
from weft.sources.kubernetes.reflection import Told

_ABOUT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_TLS = "kubernetes.io/tls"


def entries_of(kind: Kind, entries: Collection[str] | None) -> Callable[[Told, Reading | None], Reading]:
    """How objects of a kind are read of which only `entries` are kept (None: all of them); see
    `weft.sources.kubernetes.reflection.Decode`."""
    read = reading_of(kind)

    def decode(told: Told, before: Reading | None) -> Reading:
        text = kept_text(told.text, entries)
        found = read(Told(told.namespace, told.name, told.uid, told.version, text), before)
        last = before.document if before is not None else None
        if found.document is last and last is not None and not found.problems and not _says_the_same(text, last):
            return Reading(found.key)  # what was looked at is not there any more
        return found

    return decode


def kept_text(text: str, entries: Collection[str] | None) -> str:
    """Of a Secret or ConfigMap as JSON: what names it, its type, and `entries` of its data (None: all of it).

    Without the entries that it asks for, the type of a TLS Secret goes too. Where parameters of Gateways are kept, so
    are the names of what stands beside them, but no settings of the mesh.
    """
    given = msgspec.json.decode(text, type=dict[str, Any])
    about = given.get("metadata") or {}
    kept = {"apiVersion": given.get("apiVersion"), "kind": given.get("kind")}
    kept["metadata"] = {name: about[name] for name in _ABOUT if name in about}
    data = given.get("data") or {}
    looked_at = {name: value for name, value in data.items() if entries is None or name in entries}
    if entries is not None and set(entries) >= OVERLAYS and not OVERLAYS.isdisjoint(looked_at):
        looked_at = {name: "" for name in data if name not in SETTINGS_KEYS} | looked_at
    kept["data"] = looked_at
    whole = entries is None or {CHAIN, KEY} <= set(entries)
    if "type" in given and (whole or given["type"] != _TLS):
        kept["type"] = given["type"]
    return canonical_json(kept)


def unreadable_document(key: ObjectKey) -> Document[object]:
    """What stands for a Secret that cannot be read now: proxies that have it keep it."""
    about = {"apiVersion": "v1", "kind": key.kind, "metadata": {"name": key.name, "namespace": key.namespace}}
    lines = FieldLines(f"{PREFIX}{key.kind}/{key.namespace}/{key.name}", {})
    return Document(key, "v1", Unreadable(key.kind), canonical_json(about), lines)


def _says_the_same(text: str, document: Document[object]) -> bool:
    data, before = (msgspec.json.decode(each, type=dict[str, Any]).get("data") or {} for each in (text, document.text))
    return bool(data == before)
