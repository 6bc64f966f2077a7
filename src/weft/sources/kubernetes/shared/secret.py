"""One Secret that several control planes change: read as it is now, replaced by who has read its version, and watched.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import msgspec

from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.store.shared.repository import RepositoryError

LABEL = "weft.dev/state"
_FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY = 403, 404, 409, 429
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class HeldSecret:
    """What it holds, by key, and the version that does."""

    data: Mapping[str, bytes] = field(repr=False)
    version: str
    type: str = ""


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}


class _Secret(msgspec.Struct, omit_defaults=True, rename="camel"):
    metadata: _Metadata
    data: dict[str, bytes] = {}
    type: str = ""
    immutable: bool = False
    api_version: str = ""
    kind: str = ""


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class VersionedSecret:
    """The Secret `name`; every method raises RepositoryError."""

    def __init__(self, client: ApiClient, namespace: str, name: str, kind: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._type = kind

    @property
    def name(self) -> str:
        """What people call it."""
        return f"Secret {self._namespace}/{self._name}"

    async def get(self) -> HeldSecret | None:
        """What it holds now; None: there is none."""
        try:
            body = (await self._client.get(secret_path(self._namespace, self._name))).body
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise failed(error, "get", self._namespace) from error
        return _held(body)

    async def put(self, data: Mapping[str, bytes], version: str, kind: str = "") -> str | None:
        """Replace what a version holds (empty: make it), and give the new version. None: another was faster. `kind` is
        the type that it has, which cannot be changed."""
        path = secret_path(self._namespace, self._name if version else "")
        body = secret_body(self._namespace, self._name, data, kind or self._type, version=version)
        try:
            return _held(await self._client.send("PUT" if version else "POST", path, body)).version
        except ApiError as error:
            if error.status == _CONFLICT:
                return None
            if error.status == _NOT_FOUND and version:
                text = "it was deleted: restore it, or restart all control planes together"
                raise RepositoryError(text) from error
            raise failed(error, "create and update", self._namespace, written=True) from error

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[HeldSecret]]:
        """What it holds after `version`, perhaps not each; it ends at any time."""
        query = {
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
        }
        try:
            async with self._client.watch(secret_path(self._namespace), query) as events:
                yield _changes(events)
        except ApiError as error:
            raise failed(error, "watch", self._namespace) from error


def secret_path(namespace: str, name: str = "") -> str:
    """Where a Secret is, or all of a namespace are."""
    root = f"/api/v1/namespaces/{namespace}/secrets"
    return f"{root}/{name}" if name else root


def secret_body(
    namespace: str, name: str, data: Mapping[str, bytes], kind: str, *, version: str = "", part: bool = False
) -> bytes:
    """A Secret as JSON; a `part` is immutable."""
    labels = {LABEL: "part" if part else "head", "app.kubernetes.io/managed-by": "weft"}
    metadata = _Metadata(name, namespace, version, labels)
    return msgspec.json.encode(_Secret(metadata, dict(data), kind, part, "v1", "Secret"))


def failed(error: ApiError, verb: str, namespace: str, *, written: bool = False) -> RepositoryError:
    """What to say. After an answer that is none, or one of a server in trouble, a write may have been done."""
    text = str(error)
    if error.status == _FORBIDDEN:
        text = f"{text} (expected a Role that allows {verb} of secrets in namespace '{namespace}')"
    refused = 400 <= error.status < 500 or text == "no connection can be made"
    after = max(error.after, _PAUSE_SECONDS) if error.status == _TOO_MANY else 0.0
    return RepositoryError(text, unknown=written and not refused, after=after)


def _held(body: bytes) -> HeldSecret:
    try:
        found = msgspec.json.decode(body, type=_Secret)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RepositoryError("the API server's answer cannot be read", unknown=True) from error
    return HeldSecret(found.data, found.metadata.resource_version, found.type)


async def _changes(events: AsyncIterator[list[bytes]]) -> AsyncIterator[HeldSecret]:
    """The last of those that arrive together."""
    async for lines in events:
        last = None
        for line in lines:
            try:
                event = msgspec.json.decode(line, type=_Event)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise RepositoryError("an event cannot be read") from error
            if event.type in ("ADDED", "MODIFIED"):
                last = _held(bytes(event.object))
            elif event.type != "BOOKMARK":
                return
        if last is not None:
            yield last
