"""What both APIs answer: JSON bodies, problems as JSON, errors with a kebab-case code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from weft.model import instants
from weft.store.protocol import ConflictError, StoreError

_BODY_SECONDS = 30.0
_log = logging.getLogger("weft.http")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
instant = instants.instant
"""The one form of times in answers."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is answered with an error. `record` (instead of the text) and `about` are for the audit only,
    `detail` adds members to the JSON body."""

    def __init__(
        self, status: int, code: str, text: str, *, record: str = "", about: str = "", **detail: object
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.record = record
        self.about = about
        self.detail = detail


def reply(body: object, status: int = 200) -> web.Response:
    """A JSON response; dataclasses and structs are encoded by their fields."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into JSON errors that tell what to do, and nothing about our insides."""
    try:
        return await handler(request)
    except Refused as refused:
        response = reply({"error": str(refused), "code": refused.code} | refused.detail, refused.status)
        if "retry_after" in refused.detail:
            response.headers["Retry-After"] = str(refused.detail["retry_after"])
        return response
    except (StoreError, TimeoutError, web.HTTPException) as error:
        status, code, text = _told(error)
        return reply({"error": text, "code": code}, status)
    except ConnectionError:
        raise
    except Exception:
        _log.exception("%s %s", request.method, request.path)
        return reply({"error": "a fault of weft's own; its log has more", "code": "internal-error"}, 500)


def _told(error: StoreError | TimeoutError | web.HTTPException) -> tuple[int, str, str]:
    match error:
        case ConflictError():
            return 409, "conflict", str(error)
        case StoreError():
            return 503, "store-unavailable", f"nothing was written: {error}"
        case web.HTTPRequestEntityTooLarge():
            return 413, "too-large", "the body is larger than is accepted here"
        case web.HTTPException():
            text = {404: "there is nothing at this path", 405: "this path does not take this method"}
            return error.status, _word(error.reason), text.get(error.status, error.reason)
    return 504, "timeout", "this took too long; see GET /v1/health"


def _word(reason: str) -> str:
    return reason.lower().replace(" ", "-")


def seconds(request: web.Request, name: str, longest: float) -> float | None:
    """The query parameter `name` as a number of seconds from 0 to `longest`; None if absent."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= longest:
        raise Refused(400, "bad-parameter", f"{name}={text[:40]!r}: expected seconds from 0 to {longest:g}")
    return value


def flag(request: web.Request, name: str) -> bool:
    """The query parameter `name` as a switch: absent, 0 or false is off."""
    text = request.query.get(name, "0").lower()
    if text not in {"0", "1", "true", "false"}:
        raise Refused(400, "bad-parameter", f"{name}={text[:40]!r}: expected 0 or 1")
    return text in {"1", "true"}


async def body_of(request: web.Request) -> bytes:
    """The whole body, if it comes within a time that an honest client keeps."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except web.RequestPayloadError as error:
        raise Refused(400, "cut-short", "the body ended before its length") from error


async def json_body(request: web.Request, shape: Any) -> Any:
    """The body decoded strictly as `shape`; 400 says where it is wrong."""
    data = await body_of(request)
    try:
        return msgspec.json.decode(data, type=shape, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "bad-body", f"the body is not what is expected: {error}") from error
