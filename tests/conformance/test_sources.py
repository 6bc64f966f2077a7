"""What every source of documents does: followed files, and the store. Kubernetes' is in tests/kubernetes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from support.source_cases import NAMESPACE, check_life, check_mistakes
from weft.sources.files import FilesSource
from weft.sources.stored import BUCKET, StoredSource
from weft.store.memory import MemoryStore
from weft.store.protocol import Delete, Put


def text_of(kind: tuple[str, str], name: str, spec: Mapping[str, Any]) -> str:
    about = {"name": name, "namespace": NAMESPACE}
    return json.dumps({"apiVersion": kind[0], "kind": kind[1], "metadata": about, "spec": spec})


class Files:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.source = FilesSource([directory], poll=0.02, removal=0.1)

    async def put(self, kind: tuple[str, str], name: str, spec: Mapping[str, Any]) -> None:
        fresh = self._directory / f".{name}"
        fresh.write_text(text_of(kind, name, spec))
        fresh.rename(self._directory / f"{name}.json")

    async def remove(self, kind: tuple[str, str], name: str) -> None:
        (self._directory / f"{name}.json").unlink()


class Stored:
    def __init__(self) -> None:
        self._store = MemoryStore()
        self.source = StoredSource(self._store)

    async def put(self, kind: tuple[str, str], name: str, spec: Mapping[str, Any]) -> None:
        record = {"text": text_of(kind, name, spec), "source": "mesh.yaml"}
        await self._store.write([Put(BUCKET, _key(kind, name), msgspec.json.encode(record))])

    async def remove(self, kind: tuple[str, str], name: str) -> None:
        await self._store.write([Delete(BUCKET, _key(kind, name))])


def _key(kind: tuple[str, str], name: str) -> str:
    return f"{kind[0].rpartition('/')[0]}/{kind[1]}/{NAMESPACE}/{name}"


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    await check_life(Files(tmp_path))


async def test_mistakes_in_files(tmp_path: Path) -> None:
    await check_mistakes(Files(tmp_path))


async def test_the_stores_documents_come_change_and_go() -> None:
    """Mistakes do not get there: the admin API refuses them."""
    await check_life(Stored())
