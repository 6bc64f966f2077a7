"""Documents of the store, and how they lie in it: canonical JSON with the lines the user's file had."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import msgspec

from weft.aio.cell import Cell
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines, Origin
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.schema.decode import canonical_json, decode_stored
from weft.sources.contents import Contents, kept, source_problem
from weft.sources.following import follow_bucket
from weft.sources.mirror import Mirror
from weft.store.protocol import Entry, Put, Store
from weft.store.sealing.envelope import is_sealed

BUCKET = "documents"
_MOST = 20_000


class _Record(msgspec.Struct, frozen=True):
    """One value in the bucket. `text` is the document as canonical JSON, `lines` the line of each field in `source`."""

    text: str
    source: str
    lines: tuple[tuple[tuple[str | int, ...], int], ...] = ()
    generation: int = 1


def stored_key(key: ObjectKey) -> str:
    """The store key of a document: ``group/kind/namespace/name``."""
    return f"{key.group}/{key.kind}/{key.namespace}/{key.name}"


def put_document(document: Document[object], generation: int) -> Put:
    """The write that stores `document`."""
    lines = tuple(document.lines.lines.items())
    record = _Record(document.text, document.lines.source, lines, generation)
    return Put(BUCKET, stored_key(document.key), msgspec.json.encode(record))


def document_from_entry(entry: Entry) -> tuple[Document[object] | None, tuple[Problem, ...]]:
    """The stored document, or the Problems that keep it out of force (written by another version of weft). One about
    security that cannot be understood comes with its Problems and an `Unreadable` spec."""
    namespace = entry.key.split("/")[2] if entry.key.count("/") == 3 else ""
    if is_sealed(entry.value):
        return _closed(entry)
    try:
        record = msgspec.json.decode(entry.value, type=_Record)
        lines = FieldLines(record.source, dict(record.lines))
        decoded = decode_stored(record.text, lines, default_namespace=namespace or "default", created=entry.created)
    except Exception as error:  # one stored document must not stop the others
        text = f"the stored document {entry.key} cannot be decoded ({type(error).__name__}); apply it again"
        return None, (source_problem("stored-document-damaged", text, "api"),)
    if len(decoded.documents) != 1:
        return None, decoded.problems
    document = dataclasses.replace(decoded.documents[0], generation=record.generation)
    return document, decoded.problems if decoded.failed else ()


def _closed(entry: Entry) -> tuple[Document[object] | None, tuple[Problem, ...]]:
    """A document that lies in the store sealed with a key that is not known: it is there, with an `Unreadable` spec."""
    group, kind, namespace, name = (entry.key.split("/", 3) + [""] * 4)[:4]
    key = ObjectKey(group, kind, namespace, name)
    about = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    text = canonical_json(about)
    document: Document[object] = Document(
        key, "v1", Unreadable(kind), text, FieldLines("api", {}), created=entry.created
    )
    message = f"{key} is sealed with a key that is not here; proxies that have it keep it"
    expected = "the key that the store was sealed with (weft secrets status), or the document applied again"
    found = Problem(Severity.ERROR, "secret-unreadable", message, Origin("api"), object=key, expected=expected)
    return document, (found,)


class Applied:
    """Documents that are being written and were decoded for that: as they come back from the store they need not be
    decoded again, which is most of what thousands of them cost. Each is kept until then, the latest `_MOST` of them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, Document[object]]] = {}

    def expect(self, written: Iterable[tuple[Put, Document[object]]]) -> None:
        """These are about to be written, as these values."""
        for put, document in written:
            self._known.pop(put.key, None)
            self._known[put.key] = (put.value, document)
        for key in list(itertools.islice(self._known, max(0, len(self._known) - _MOST))):
            del self._known[key]

    def take(self, entry: Entry) -> Document[object] | None:
        """What `document_from_entry` would give, if it is known."""
        value, document = self._known.pop(entry.key, (b"", None))
        if document is None or value != entry.value:
            return None
        return dataclasses.replace(document, created=entry.created or document.created)


class StoredSource:
    """The documents that came through the admin API, which tells `applied` what it writes."""

    def __init__(self, store: Store, applied: Applied | None = None) -> None:
        self._store = store
        self._applied = applied or Applied()
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Follow the store for ever."""
        mirror = Mirror(self._decode)
        async for change in follow_bucket(self._store, BUCKET):
            await mirror.take(change)
            problems = mirror.problems
            if change.error:
                problems += (source_problem("store-unavailable", change.error, "store", "a store that can be read"),)
            self._contents.set(Contents(mirror.values, problems=problems, store_revision=change.revision))

    def _decode(
        self, entry: Entry, before: Document[object] | None
    ) -> tuple[Document[object] | None, tuple[Problem, ...]]:
        known = self._applied.take(entry)
        document, problems = (known, ()) if known is not None else document_from_entry(entry)
        return (None if document is None else kept(document, before)), problems
