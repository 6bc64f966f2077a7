"""Documents that come back from the store are what they were when they were written, decoded again or not."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from weft.model.document import Document
from weft.schema.decode import decode_documents
from weft.sources import stored
from weft.sources.stored import Applied, StoredSource, document_from_entry, put_document
from weft.store.memory import MemoryStore
from weft.store.protocol import Entry

EVERYTHING = Path(__file__).parent.parent / "support" / "everything.yaml"


def documents() -> list[Document[object]]:
    decoded = decode_documents(EVERYTHING.read_text(), "everything.yaml")
    return [dataclasses.replace(document, generation=number) for number, document in enumerate(decoded.documents, 1)]


def fields(document: Document[object] | None) -> tuple[object, ...]:
    assert document is not None
    return tuple(getattr(document, field.name) for field in dataclasses.fields(document))


def test_what_is_known_is_what_decoding_gives() -> None:
    written = [(put_document(document, document.generation), document) for document in documents()]
    assert len(written) > 10
    applied = Applied()
    applied.expect(written)
    for put, _ in written:
        entry = Entry(put.bucket, put.key, put.value, 1, 1_800_000_000.0)
        assert fields(applied.take(entry)) == fields(document_from_entry(entry)[0])
        assert applied.take(entry) is None, "once"


def test_what_somebody_else_wrote_meanwhile_is_not_known() -> None:
    document = documents()[0]
    put = put_document(document, 1)
    applied = Applied()
    applied.expect([(put, document)])
    assert applied.take(Entry(put.bucket, put.key, put.value + b" ", 2, 1.0)) is None
    assert applied.take(Entry(put.bucket, put.key, put.value, 1, 1.0)) is None


def test_the_latest_are_known_and_others_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MOST", 3)
    written = [(put_document(document, 1), document) for document in documents()[:6]]
    applied = Applied()
    applied.expect(written[:2])
    applied.expect(written[2:4])
    known = [applied.take(Entry(put.bucket, put.key, put.value, 1, 1.0)) is not None for put, _ in written]
    assert known == [False, True, True, True, False, False]


async def test_what_is_applied_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Entry) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr(stored, "document_from_entry", fails)
    store, applied = MemoryStore(), Applied()
    source = StoredSource(store, applied)
    running = asyncio.create_task(source.run())
    written = [(put_document(document, document.generation), document) for document in documents()]
    applied.expect(written)
    revision = await store.write([put for put, _ in written])
    version = 0
    async with asyncio.timeout(60):
        while (contents := source.contents.value) is None or (contents.store_revision or 0) < revision:
            version = await source.contents.changed(version)
    assert {document.key for document in contents.documents} == {document.key for _, document in written}
    running.cancel()
