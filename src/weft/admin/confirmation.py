"""Waiting until every proxy concerned has confirmed a change, and saying what came of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from weft.admin.context import ApiContext
from weft.discovery.status import Nack, WaitResult
from weft.model.document import ObjectKey
from weft.model.origin import Origin

LONGEST_WAIT = 600.0
_SEEN_SECONDS = 2.0
_TRIED = "EnvoyFilter"
"""Documents of this kind are in force once they were tried on an Envoy."""


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


async def confirmation(
    context: ApiContext, store_revision: int, timeout: float, changed: Iterable[ObjectKey] = ()
) -> dict[str, object]:
    """The ``wait`` member of an answer: who confirmed, who refused (with Envoy's words), who has not answered yet, and
    who has not answered anything for so long that nobody waits for it. Those of the `changed` documents that are tried
    on an Envoy first are waited for, and then the proxies that are given them; ``untried`` are those that were not
    tried in time."""
    end = asyncio.get_running_loop().time() + timeout
    try:
        async with asyncio.timeout_at(end):
            snapshot = await _compiled(context, store_revision)
    except TimeoutError:
        return unpublished(context)
    return await confirmation_of(context, snapshot, end, changed)


async def confirmation_of(
    context: ApiContext, snapshot: int, end: float, changed: Iterable[ObjectKey], since: int | None = None
) -> dict[str, object]:
    """The same of a snapshot that the Mesh includes, by the `end` (of the loop's clock); with `since` of all changes
    after that one."""
    loop = asyncio.get_running_loop()
    untried = await _tried(context, changed, end)
    results = [await context.hub.wait_revision(snapshot, max(0.0, end - loop.time()), since)]
    if untried is not None:
        latest = max(snapshot, context.compiled.value.revision)
        results.append(await context.hub.wait_revision(latest, max(0.0, end - loop.time())))
    found = _answer(results) if all(result.published for result in results) else unpublished(context)
    return {**found, "untried": [str(key) for key in untried]} if untried else found


def unpublished(context: ApiContext) -> dict[str, object]:
    """The same where nobody was told yet: everybody is waited for."""
    return {"confirmed": [], "nacked": [], "stuck": [], "pending": list(context.hub.connected())}


async def _tried(context: ApiContext, changed: Iterable[ObjectKey], end: float) -> list[ObjectKey] | None:
    """Wait until those of these documents that have to be tried were; those that were not by the `end`, or None if none
    has to."""
    filters = {key for key in changed if key.kind == _TRIED}
    if not filters:
        return None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            while _awaited(context) & filters:
                await context.compiled.changed(context.compiled.version)
    return sorted(_awaited(context) & filters)


def _awaited(context: ApiContext) -> frozenset[ObjectKey]:
    mesh = context.compiled.value.mesh
    return mesh.filters.awaited(context.collector.snapshot.workloads) if mesh is not None else frozenset()


def _answer(results: Sequence[WaitResult]) -> dict[str, object]:
    """One answer of several waits: of a proxy counts what the latest says that it is in."""
    found: dict[str, list[object]] = {"confirmed": [], "nacked": [], "pending": [], "stuck": []}
    later: set[str] = set()
    for result in reversed(results):
        for word, names in (("confirmed", result.confirmed), ("pending", result.pending), ("stuck", result.stuck)):
            found[word] += [name for name in names if name not in later]
        found["nacked"] += [_refusal(nack) for nack in result.nacked if nack.proxy not in later]
        later.update(result.confirmed, result.pending, result.stuck, (nack.proxy for nack in result.nacked))
    return dict(found)


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
