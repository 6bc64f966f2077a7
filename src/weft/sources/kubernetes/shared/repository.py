"""A repository of Secrets: the head is replaced by its version, and watched; parts are immutable Secrets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.shared.secret import LABEL, HeldSecret, VersionedSecret, failed, secret_body, secret_path
from weft.store.shared.repository import HeldHead, RepositoryError

HEAD = "weft-state"
TYPE = "weft.dev/state"
_DATA = "state"
_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_NOT_FOUND = 404


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    creation_timestamp: str = ""


class _Named(msgspec.Struct):
    metadata: _Metadata


class _List(msgspec.Struct):
    items: list[_Named]


class SecretRepository:
    """See `weft.store.shared.repository.Repository`. The client is its caller's to close."""

    def __init__(self, client: ApiClient, namespace: str, head: str = HEAD) -> None:
        self._client = client
        self._namespace = namespace
        self._stem = f"{head}-"
        self._head = VersionedSecret(client, namespace, head, TYPE)

    @property
    def name(self) -> str:
        """See the protocol."""
        return f"the control planes' state ({self._head.name})"

    async def head(self) -> HeldHead | None:
        """See the protocol."""
        held = await self._head.get()
        return _head_of(held) if held is not None else None

    async def replace(self, data: bytes, version: str) -> str | None:
        """See the protocol."""
        return await self._head.put({_DATA: data}, version)

    async def create(self, name: str, data: bytes) -> None:
        """See the protocol."""
        body = secret_body(self._namespace, self._stem + name, {_DATA: data}, TYPE, part=True)
        try:
            await self._client.send("POST", secret_path(self._namespace), body)
        except ApiError as error:
            raise failed(error, "create", self._namespace) from error

    async def read(self, name: str) -> bytes | None:
        """See the protocol."""
        held = await VersionedSecret(self._client, self._namespace, self._stem + name, TYPE).get()
        return _head_of(held).data if held is not None else None

    async def remove(self, name: str) -> None:
        """See the protocol."""
        try:
            await self._client.send("DELETE", secret_path(self._namespace, self._stem + name))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise failed(error, "delete", self._namespace) from error

    async def parts(self) -> dict[str, float]:
        """See the protocol. Of other objects, and of other repositories, nothing is told."""
        path = f"{secret_path(self._namespace)}?labelSelector={quote(f'{LABEL}=part')}"
        try:
            answer = await self._client.get(path, _NAMES_ONLY)
        except ApiError as error:
            raise failed(error, "list", self._namespace) from error
        try:
            found = msgspec.json.decode(answer.body, type=_List).items
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RepositoryError("the API server's answer cannot be read") from error
        now, stem = datetime.now(UTC), self._stem
        return {
            each.metadata.name.removeprefix(stem): _seconds_since(each.metadata.creation_timestamp, now)
            for each in found
            if each.metadata.name.startswith(stem)
        }

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[HeldHead]]:
        """See the protocol."""
        async with self._head.watch(version) as changes:
            yield _heads(changes)


async def _heads(changes: AsyncIterator[HeldSecret]) -> AsyncIterator[HeldHead]:
    async for held in changes:
        yield _head_of(held)


def _head_of(held: HeldSecret) -> HeldHead:
    return HeldHead(held.data.get(_DATA, b""), held.version)


def _seconds_since(text: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(text)).total_seconds()
    except ValueError:
        return 0.0
