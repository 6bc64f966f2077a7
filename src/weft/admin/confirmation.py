"""Waiting until every proxy concerned has confirmed a change, and saying what came of it."""

from __future__ import annotations

import asyncio
import contextlib

from weft.admin.context import ApiContext
from weft.discovery.status import Nack
from weft.model.origin import Origin

LONGEST_WAIT = 600.0
_SEEN_SECONDS = 2.0


async def seen(context: ApiContext, store_revision: int) -> None:
    """Wait a moment until what was written can be read back and its meaning is known; a write is not undone because
    that takes long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SEEN_SECONDS):
            await _compiled(context, store_revision)


async def _compiled(context: ApiContext, store_revision: int) -> int:
    """Wait until the Mesh includes a revision of the store; the revision of the snapshot that does."""
    snapshot = await context.collector.included(store_revision)
    while context.compiled.value.revision < snapshot:
        await context.compiled.changed(context.compiled.version)
    return snapshot


async def confirmation(context: ApiContext, store_revision: int, timeout: float) -> dict[str, object]:
    """The ``wait`` member of an answer: who confirmed, who refused (with Envoy's words), who has not answered yet, and
    who has not answered anything for so long that nobody waits for it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    unknown: dict[str, object] = {"confirmed": [], "nacked": [], "stuck": []}
    try:
        async with asyncio.timeout_at(end):
            snapshot = await _compiled(context, store_revision)
    except TimeoutError:
        return {**unknown, "pending": list(context.hub.connected())}
    result = await context.hub.wait_revision(snapshot, max(0.0, end - loop.time()))
    if not result.published:
        return {**unknown, "pending": list(context.hub.connected())}
    return {
        "confirmed": list(result.confirmed),
        "nacked": [_refusal(nack) for nack in result.nacked],
        "pending": list(result.pending),
        "stuck": list(result.stuck),
    }


def _refusal(nack: Nack) -> dict[str, object]:
    return {
        "proxy": nack.proxy,
        "type": nack.type,
        "resource": nack.resource,
        "message": nack.message,
        "origins": [_origin(origin) for origin in nack.origins],
        "taken_by": nack.taken_by,
        "stands_alone": nack.stands_alone,
    }


def _origin(origin: Origin) -> dict[str, object]:
    return {"source": origin.source, "line": origin.line}
