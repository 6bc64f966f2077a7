"""What the history keeps of a revision: who changed which documents, what they said, and what came of it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.model.document import Document, ObjectKey, key_mapping
from weft.model.origin import FieldLines
from weft.schema.decode import canonical_json, decode_stored

HIDDEN = "(hidden"
"""How the stand-in of a secret value begins."""
_DIGITS = 16
_OF_SECRETS = ("apiVersion", "kind", "metadata", "type", "data")


class Kept(msgspec.Struct, frozen=True):
    """A document as the history keeps it. `text` is its canonical JSON; in a Secret a marker with a keyed hash stands
    for each value, and nothing else of it is kept. `hash` is that of the whole, values too."""

    text: str
    source: str
    hash: str
    lines: tuple[tuple[tuple[str | int, ...], int], ...] = ()


class Versions(msgspec.Struct, frozen=True):
    """One object before and after a revision. `left_out`: there was more than is kept of one revision."""

    before: Kept | None = None
    after: Kept | None = None
    left_out: bool = False


class ChangedObject(msgspec.Struct, frozen=True):
    """One object of a revision. `change` is created, changed or deleted, `owner` one of `weft.admin.owners`, `before`
    and `after` are the hashes of what it said (empty: it was not there)."""

    group: str
    kind: str
    namespace: str
    name: str
    change: str
    owner: str
    source: str
    line: int = 0
    before: str = ""
    after: str = ""

    @property
    def key(self) -> ObjectKey:
        """What names it."""
        return ObjectKey(self.group, self.kind, self.namespace, self.name)


class Outcome(msgspec.Struct, frozen=True):
    """What came of a revision at the proxies. `confirmed` are the first of them with milliseconds since the revision
    was taken up; `changed` and `confirmed_count` count all. `together_with` is the later revision that went to the
    proxies at the same moment, and has all this (0: none)."""

    changed: int = 0
    confirmed_count: int = 0
    confirmed: tuple[tuple[str, float], ...] = ()
    median_ms: float | None = None
    last_ms: float | None = None
    pending: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    final: bool = False
    together_with: int = 0


class Record(msgspec.Struct, frozen=True):
    """One revision. `time` is in seconds since the epoch, `store_revision` that of the write (0: not by the store),
    `object_count` counts all its objects, of which `objects` are the first; `size` is what it takes in the store."""

    revision: int
    time: float
    who: str
    action: str
    objects: tuple[ChangedObject, ...]
    object_count: int
    store_revision: int = 0
    size: int = 0
    outcome: Outcome | None = None


def kept_document(document: Document[object], secret: bytes) -> Kept:
    """What is kept of a document. `secret` is the key of the hashes: without it a weak password could be guessed."""
    hashed = text_hash(document.text, secret)
    lines = tuple(document.lines.lines.items())
    if is_secret(document.key):
        return Kept(_hidden(document.text, secret), document.lines.source, hashed, lines)
    return Kept(document.text, document.lines.source, hashed, lines)


def is_secret(key: ObjectKey) -> bool:
    """Whether an object's values are never shown, and never kept a second time."""
    return key.kind == "Secret" and not key.group


def text_hash(text: str, secret: bytes) -> str:
    """The keyed hash of a text."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _hidden(text: str, secret: bytes) -> str:
    """A Secret's text with its values, and those of its annotations, replaced."""
    whole: dict[str, Any] = json.loads(text)
    whole["data"] = _markers(whole.get("data") or {}, secret)
    about = whole.get("metadata") or {}
    if about.get("annotations"):
        about["annotations"] = _markers(about["annotations"], secret)
    return canonical_json(
        {name: whole[name] for name in ("apiVersion", "kind", "metadata", "type", "data") if name in whole}
    )


def _markers(values: Mapping[str, str], secret: bytes) -> dict[str, str]:
    return {name: f"{HIDDEN}, {text_hash(str(value), secret)})" for name, value in values.items()}


def document_of(kept: Kept, namespace: str) -> Document[object] | None:
    """The document that was kept, with the lines it had; None if this weft cannot decode it."""
    found = decode_stored(
        kept.text, FieldLines(kept.source, dict(kept.lines)), default_namespace=namespace or "default"
    )
    return found.documents[0] if len(found.documents) == 1 and not found.failed else None


def object_row(one: ChangedObject) -> dict[str, object]:
    """A changed object as the API shows it."""
    return {
        **key_mapping(one.key),
        "change": one.change,
        "owner": one.owner,
        "source": one.source,
        "line": one.line,
    }
