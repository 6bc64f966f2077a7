"""A repository of Secrets: the head is replaced by its resourceVersion, and watched; parts are immutable.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.store.shared.repository import HeldHead, RepositoryError

HEAD = "weft-state"
TYPE = "weft.dev/state"
_LABEL = "weft.dev/state"
_PART, _WHOLE = "part", "head"
_DATA = "state"
_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID, _TOO_MANY = 403, 404, 409, 422, 429
_PAUSE_SECONDS = 0.2


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    labels: dict[str, str] = {}


class _Secret(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata
    data: dict[str, bytes] = {}
    type: str = ""
    immutable: bool = False
    apiVersion: str = ""  # noqa: N815 - as it is on the wire
    kind: str = ""


class _Named(msgspec.Struct):
    metadata: _Metadata


class _List(msgspec.Struct):
    items: list[_Named]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class SecretRepository:
    """See `weft.store.shared.repository.Repository`. Made by `open_repository`."""

    def __init__(self, client: ApiClient, namespace: str, head: str = HEAD) -> None:
        self._client = client
        self._namespace = namespace
        self._head = head
        self._path = f"/api/v1/namespaces/{namespace}/secrets"

    @property
    def name(self) -> str:
        """See the protocol."""
        return f"the state of the control planes (Secret {self._namespace}/{self._head})"

    async def head(self) -> HeldHead | None:
        """See the protocol."""
        try:
            found = _secret_from((await self._client.get(f"{self._path}/{self._head}")).body)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise self._failed(error, "get") from error
        return HeldHead(found.data.get(_DATA, b""), found.metadata.resource_version)

    async def replace(self, data: bytes, version: str) -> str | None:
        """See the protocol."""
        body = self._body(self._head, data, _WHOLE, version)
        method, path = ("PUT", f"{self._path}/{self._head}") if version else ("POST", self._path)
        try:
            return _secret_from(await self._client.send(method, path, body)).metadata.resource_version
        except ApiError as error:
            if error.status == _CONFLICT:
                return None
            if error.status == _NOT_FOUND and version:
                text = "it was deleted: restore it, or restart all control planes together"
                raise RepositoryError(text) from error
            raise self._failed(error, "create, update", written=True) from error

    async def create(self, name: str, data: bytes) -> None:
        """See the protocol."""
        try:
            await self._client.send("POST", self._path, self._body(f"{self._head}-{name}", data, _PART))
        except ApiError as error:
            raise self._failed(error, "create") from error

    async def read(self, name: str) -> bytes | None:
        """See the protocol."""
        try:
            found = _secret_from((await self._client.get(f"{self._path}/{self._head}-{name}")).body)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise self._failed(error, "get") from error
        return found.data.get(_DATA, b"")

    async def remove(self, name: str) -> None:
        """See the protocol."""
        try:
            await self._client.send("DELETE", f"{self._path}/{self._head}-{name}")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise self._failed(error, "delete") from error

    async def parts(self) -> dict[str, float]:
        """See the protocol. Of other objects, and of other repositories, nothing is told."""
        path = f"{self._path}?labelSelector={quote(f'{_LABEL}={_PART}')}"
        try:
            answer = await self._client.get(path, _NAMES_ONLY)
        except ApiError as error:
            raise self._failed(error, "list") from error
        now, prefix = datetime.now(UTC), f"{self._head}-"
        return {
            each.metadata.name.removeprefix(prefix): _seconds_since(each.metadata.creation_timestamp, now)
            for each in msgspec.json.decode(answer.body, type=_List).items
            if each.metadata.name.startswith(prefix)
        }

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[HeldHead]]:
        """See the protocol."""
        query = {
            "fieldSelector": f"metadata.name={self._head}",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
        }
        try:
            async with self._client.watch(self._path, query) as events:
                yield _heads(events)
        except ApiError as error:
            raise self._failed(error, "watch") from error

    async def close(self) -> None:
        """See the protocol."""
        await self._client.__aexit__()

    def _body(self, name: str, data: bytes, what: str, version: str = "") -> bytes:
        labels = {_LABEL: what, "app.kubernetes.io/managed-by": "weft"}
        metadata = _Metadata(name, self._namespace, version, labels=labels)
        return msgspec.json.encode(_Secret(metadata, {_DATA: data}, TYPE, what == _PART, "v1", "Secret"))

    def _failed(self, error: ApiError, verb: str, *, written: bool = False) -> RepositoryError:
        """What to say. After an answer that is none, or one of a server in trouble, a write may have been done."""
        text = str(error)
        if error.status == _FORBIDDEN:
            text = f"{text} (expected a Role that allows {verb} of secrets in namespace '{self._namespace}')"
        refused = 400 <= error.status < 500 or text == "no connection can be made"
        after = max(error.after, _PAUSE_SECONDS) if error.status == _TOO_MANY else 0.0
        return RepositoryError(text, unknown=written and not refused, after=after)


async def open_repository(credentials: Credentials, namespace: str, head: str = HEAD) -> SecretRepository:
    """A repository with connections of its own."""
    return SecretRepository(await ApiClient(credentials).__aenter__(), namespace, head)


def _secret_from(body: bytes) -> _Secret:
    try:
        return msgspec.json.decode(body, type=_Secret)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RepositoryError(f"the API server's answer cannot be read ({error})", unknown=True) from error


async def _heads(events: AsyncIterator[list[bytes]]) -> AsyncIterator[HeldHead]:
    """The last head of those that arrive together."""
    async for lines in events:
        last = None
        for line in lines:
            try:
                event = msgspec.json.decode(line, type=_Event)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise RepositoryError("an event cannot be read") from error
            if event.type in ("ADDED", "MODIFIED"):
                last = _secret_from(bytes(event.object))
            elif event.type != "BOOKMARK":
                return
        if last is not None:
            yield HeldHead(last.data.get(_DATA, b""), last.metadata.resource_version)


def _seconds_since(text: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(text)).total_seconds()
    except ValueError:
        return 0.0
