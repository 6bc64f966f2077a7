"""The client of an API server: one request, and the lines of a watch. It follows no redirects and keeps no answer."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from weft.aio.connector import Connector
from weft.model.printable import printable
from weft.sources.kubernetes.access import AccessError, Credentials, Shown
from weft.sources.kubernetes.lines import Lines, LineTooLongError

LARGEST_ANSWER = 16 * 1024 * 1024
LARGEST_EVENT = 8 * 1024 * 1024
"""Bytes. An object of etcd has at most 1.5 MiB."""
_WATCH_SECONDS = (300, 600)
"""How long the server is asked to keep a watch; by chance, so that many do not end together."""
_SILENCE_SECONDS = 150.0
"""The server sends a bookmark each minute; after so long the connection is taken for dead."""
_ANSWER_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_USUAL_TIMEOUT = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
_GOOD = frozenset((200, 201, 202, 304))
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Types of bodies: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply"""
_LONGEST_TEXT = 1000


class ApiError(Exception):
    """The server did not do what it was asked. `status` is its HTTP status, or the code of its Status object; 0 if it
    gave no answer, or one that cannot be read. `after`: it wants to be left alone for so many seconds."""

    def __init__(self, message: str, status: int = 0, after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.after = after


class Status(msgspec.Struct, frozen=True):
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/"""

    code: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`fresh` is False where nothing has changed since the answer with the `tag` that was given. `date` is the server's
    clock, as HTTP says it."""

    body: bytes = field(default=b"", repr=False)
    tag: str = ""
    fresh: bool = True
    date: str = ""


class ApiClient:
    """One server. To be used as an asynchronous context manager. With `at_once` other than 0, so many requests are
    under way, and more wait."""

    def __init__(self, credentials: Credentials, at_once: int = 0) -> None:
        self._at_once = at_once
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        connector = Connector(limit=self._at_once, ttl_dns_cache=10)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, accept: str = JSON, tag: str = "") -> Answer:
        """What stands at `path`, unless it is what it was when it had `tag`. ApiError."""
        headers = {"Accept": accept, **({"If-None-Match": tag} if tag else {})}
        async with self._ask("GET", path, {}, headers, _USUAL_TIMEOUT) as response:
            if response.status == 304:
                return Answer(tag=tag, fresh=False)
            told = response.headers
            return Answer(await _body(response, path), told.get("ETag", ""), date=told.get("Date", ""))

    async def send(
        self, method: str, path: str, body: bytes = b"", content: str = JSON, query: Mapping[str, str] | None = None
    ) -> bytes:
        """Ask for a change, or for an answer to `body`, which is of the type `content`. ApiError."""
        headers = {"Accept": JSON, "Content-Type": content}
        async with self._ask(method, path, query or {}, headers, _USUAL_TIMEOUT, body) as response:
            return await _body(response, path)

    @contextlib.asynccontextmanager
    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """The lines of a text, as many as arrive at once, without empty ones. ApiError on entry and while reading."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        async with self._ask("GET", path, query, {"Accept": "*/*"}, timeout) as response:
            yield _lines(response)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """The events of a watch, as many as arrive at once, each as JSON. ApiError on entry and while reading."""
        seconds = random.randint(*_WATCH_SECONDS)  # noqa: S311
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
        asked = {"watch": "1", "timeoutSeconds": str(seconds), **query}
        async with self._ask("GET", path, asked, {"Accept": JSON}, timeout) as response:
            try:
                yield _lines(response)
            finally:
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()  # a goodbye of TLS would outlast who gives the watch up

    @contextlib.asynccontextmanager
    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        body: bytes = b"",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None  # noqa: S101 - __aenter__ makes it
        try:
            shown = await self._credentials.shown()
            options = _tls_options(shown)
            url = f"{shown.server}{path}"
            sent = {**shown.headers, **headers}
            async with self._session.request(
                method,
                url,
                params=query,
                data=body or None,
                headers=sent,
                timeout=timeout,
                allow_redirects=False,
                **options,
            ) as response:
                if response.status not in _GOOD:
                    if response.status == 401:
                        self._credentials.forget()
                    raise await _refusal(response)
                yield response
        except AccessError as error:
            raise ApiError(str(error)) from error
        except TimeoutError as error:
            raise ApiError("it does not answer in time") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise ApiError("its certificate is not one that is to be trusted for its name") from error
        except aiohttp.ClientConnectorError as error:
            raise ApiError("no connection can be made") from error
        except LineTooLongError as error:
            raise ApiError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(f"the connection broke ({type(error).__name__})") from error


def _tls_options(shown: Shown) -> dict[str, Any]:
    options: dict[str, Any] = {} if shown.tls is None else {"ssl": shown.tls}
    return options | ({"server_hostname": shown.server_name} if shown.server_name else {})


async def _body(response: aiohttp.ClientResponse, path: str) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise ApiError(f"its answer at {path} is larger than {LARGEST_ANSWER // 1024 // 1024} MiB")
    return bytes(body)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[list[bytes]]:
    lines = Lines(LARGEST_EVENT)
    with contextlib.suppress(aiohttp.SocketTimeoutError):  # silence: the connection may be dead, the next one is not
        async for piece in response.content.iter_any():
            found = lines.feed(piece)
            if found:
                yield found


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """What an answer that is none says, in the server's own words if it is a Status."""
    text = f"it answers {response.status}"
    body = await response.content.read(64 * 1024)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        said = msgspec.json.decode(body, type=Status)
        if said.message:
            text = f"{text}: {printable(said.message[:_LONGEST_TEXT])}"
    after = response.headers.get("Retry-After", "")
    seconds = float(after) if after.isascii() and after.isdecimal() and len(after) < 5 else 0.0
    return ApiError(text, response.status, seconds)
