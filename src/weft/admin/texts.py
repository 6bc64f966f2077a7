"""Texts with documents in a request's body: one text, or several with their sources as JSON."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import msgspec
from aiohttp import web

from weft.admin.replies import Refused, body_of
from weft.admin.routing import Parameter
from weft.model.identity import is_dns_label
from weft.schema.decode import Decoded, decode_texts

TEXTS = "application/vnd.weft.texts+json"
"""The media type of several texts: a JSON list of objects with `source` and `text`."""
BODY = f"YAML or JSON documents; several texts as {TEXTS}: a list of objects with source and text"
PARAMETERS = (
    Parameter("namespace", "for documents that name none"),
    Parameter("X-Weft-Source", "the file that one text came from, percent-encoded", place="header"),
)
_MAX_SOURCE = 1024


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One text; `source` is the file it came from, as problems name it."""

    source: str
    text: str


async def decoded_of(request: web.Request) -> Decoded:
    """The documents of the body and what is wrong with each alone; Refused (400) if it has no form."""
    namespace = request.query.get("namespace", "default")
    if not is_dns_label(namespace):
        raise Refused(400, "bad-parameter", f"namespace={namespace[:80]!r}: expected an RFC 1123 label")
    texts = _texts(await body_of(request), request)
    for one in texts:
        if not one.source.isprintable():
            raise Refused(400, "bad-parameter", "the source of a text: expected printable text")
    pairs = [(one.source[:_MAX_SOURCE], one.text) for one in texts]
    return await asyncio.to_thread(decode_texts, pairs, default_namespace=namespace)


def _texts(data: bytes, request: web.Request) -> list[Text]:
    try:
        if request.content_type == TEXTS:
            return msgspec.json.decode(data, type=list[Text])
        source = unquote(request.headers.get("X-Weft-Source", "api"))
        return [Text(source, data.decode("utf-8-sig"))]
    except UnicodeDecodeError as error:
        raise Refused(400, "not-utf8", f"the body is not UTF-8 text: {error.reason}") from error
    except msgspec.DecodeError as error:
        raise Refused(400, "bad-body", f"the body is not what is expected: {error}") from error
