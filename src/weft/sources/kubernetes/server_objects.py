"""Objects as an API server has them, whatever their kind: one of them, lists in pages, and server-side apply.

https://kubernetes.io/docs/reference/using-api/api-concepts/ and
https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from weft.sources.kubernetes.client import APPLY_PATCH, JSON, ApiClient, ApiError

Json = dict[str, Any]
_PAGE = 500
_NOT_FOUND = 404
_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def decoded(body: bytes) -> Json:
    """An object of JSON. ApiError if it is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError("its answer is no JSON") from error
    if not isinstance(found, dict):
        raise ApiError("its answer is no object")
    return found


def stated(thing: Json) -> Json:
    """What somebody has said of an object: without its status, and without what the server keeps in its metadata."""
    kept = {key: value for key, value in thing.items() if key != "status"}
    if metadata := thing.get("metadata"):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in _OF_THE_SERVER}
    return kept


async def live(client: ApiClient, path: str) -> Json | None:
    """What stands at `path`; None if nothing does. ApiError."""
    try:
        return decoded((await client.get(path)).body)
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


async def pages(client: ApiClient, path: str, labels: str = "", accept: str = JSON) -> AsyncIterator[list[Json]]:
    """The objects of a list, with these labels, as many as the server gives at once. ApiError."""
    after = ""
    while True:
        asked = {"limit": str(_PAGE), "continue": after, "labelSelector": labels}
        query = urlencode({name: value for name, value in asked.items() if value}, quote_via=quote)
        answer = decoded((await client.get(f"{path}?{query}", accept)).body)
        yield answer.get("items") or []
        after = str((answer.get("metadata") or {}).get("continue") or "")
        if not after:
            return


async def applied(
    client: ApiClient,
    path: str,
    thing: Json,
    manager: str,
    *,
    force: bool = False,
    dry: bool = False,
    strict: bool = False,
) -> Json:
    """The object at `path` as it is, or with `dry` would be, once the field manager has applied `thing`. With `strict`
    fields that its kind does not have are refused. ApiError; of 409 where others own fields, unless `force`."""
    query = {"fieldManager": manager, "force": "true" if force else "false"}
    query |= {"dryRun": "All"} if dry else {}
    query |= {"fieldValidation": "Strict"} if strict else {}
    return decoded(await client.send("PATCH", path, msgspec.json.encode(thing), APPLY_PATCH, query))
