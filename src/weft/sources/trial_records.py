"""Trials as they lie in the store: with the last text that Envoy took, so that it stays in force over a restart."""

from __future__ import annotations

import msgspec

from weft.model.document import ObjectKey
from weft.model.origin import FieldLines
from weft.model.trials import Taken, Trial
from weft.schema.decode import decode_stored
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec
from weft.store.protocol import Entry, Put

BUCKET = "trials"


class _Taken(msgspec.Struct, frozen=True):
    """See `Taken`. The document is canonical JSON, with the line of each field in `source`."""

    text: str
    source: str
    created: float
    lines: tuple[tuple[tuple[str | int, ...], int], ...]
    digest: str
    idle: tuple[int, ...]
    kinds: tuple[str, ...]
    without: tuple[tuple[str, str], ...]


class _Record(msgspec.Struct, frozen=True):
    """One value in the bucket. `version` is that of the Envoy that was asked."""

    version: str
    key: ObjectKey
    digest: str
    refusal: str
    taken: _Taken | None


def trial_name(key: ObjectKey) -> str:
    """The store key of a trial."""
    return f"{key.namespace}/{key.name}"


def put_trial(trial: Trial, version: str) -> Put:
    """The write that stores a trial by the Envoy of this version."""
    taken = None
    if trial.taken is not None:
        one, document = trial.taken, trial.taken.document
        lines = tuple(document.lines.lines.items())
        origin = (document.lines.source, document.created, lines)
        taken = _Taken(document.text, *origin, one.digest, one.idle, one.kinds, one.without)
    record = _Record(version, trial.key, trial.digest, trial.refusal, taken)
    return Put(BUCKET, trial_name(trial.key), msgspec.json.encode(record))


def trial_from_entry(entry: Entry, version: str) -> Trial | None:
    """The stored trial; None if it cannot be read. What an Envoy of another version said counts no more: the text that
    it took is kept, as one that was tried on nothing."""
    try:
        record = msgspec.json.decode(entry.value, type=_Record)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    taken = _taken(record.taken, record.key) if record.taken is not None else None
    if record.version == version:
        return Trial(record.key, record.digest, record.refusal, taken)
    if taken is None:
        return None
    return Trial(record.key, "", taken=Taken(taken.document, taken.digest, taken.idle, (), taken.without))


def _taken(record: _Taken, key: ObjectKey) -> Taken | None:
    try:
        lines = FieldLines(record.source, dict(record.lines))
        namespace = key.namespace or "default"
        decoded = decode_stored(record.text, lines, default_namespace=namespace, created=record.created)
    except Exception:  # a text of another version of weft must not end the control plane
        return None
    for document in decoded.documents:
        if document.key == key and isinstance(document.spec, EnvoyFilterSpec):
            return Taken(document, record.digest, record.idle, record.kinds, record.without)
    return None
