"""Waiting until every proxy that is concerned and connected here has confirmed a change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence

from weft.admin.context import ApiContext
from weft.admin.replicas.rows import Awaited, Found
from weft.admin.written import Written
from weft.discovery.status import WaitResult
from weft.model.document import ObjectKey
from weft.sources.kubernetes.discovery import FOLLOWED

LONGEST_WAIT = 600.0
_SEEN_SECONDS = 2.0
UNCERTAIN_SECONDS = 2.0
"""For objects of which it cannot be seen whether they were read, or have to be."""
_TRIED = "EnvoyFilter"
"""Documents of this kind are in force once they were tried on an Envoy."""
_FOLLOWED = frozenset((kind.group, kind.name) for kind in FOLLOWED)


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


async def confirmed_here(context: ApiContext, awaited: Awaited, end: float, changed: Iterable[ObjectKey] = ()) -> Found:
    """The answer of this process, by the `end` (of the loop's clock). Those of the `changed` documents, and of those
    that are awaited, that are tried on an Envoy first are waited for, and then the proxies that are given them."""
    loop, boot = asyncio.get_running_loop(), context.replicas.boot
    unread = await _read(context, awaited.documents, end)
    if unread:
        return _not_known(context, unread=tuple(str(one.key) for one in unread))
    own = awaited.boot == boot
    pinned = own and awaited.revision >= 0
    try:
        async with asyncio.timeout_at(end):
            revision = awaited.revision if pinned else await _revision(context, awaited)
    except TimeoutError:
        return _not_known(context)
    since = awaited.since if own and awaited.since >= 0 else None
    everybody = awaited.everybody or (since is None and awaited.since >= 0)
    also = tuple(context.hub.connected()) if everybody else awaited.moved
    keys = () if pinned else (*changed, *(one.key for one in awaited.documents))
    untried = await _tried(context, keys, end)
    results = [await context.hub.wait_revision(revision, max(0.0, end - loop.time()), since, also)]
    if untried is not None:
        revision = max(revision, context.compiled.value.revision)
        results.append(await context.hub.wait_revision(revision, max(0.0, end - loop.time())))
    names = tuple(map(str, untried or ()))
    if not all(result.published for result in results):
        return _not_known(context, untried=names)
    return _answer(boot, revision, names, results)


def _not_known(context: ApiContext, *, unread: tuple[str, ...] = (), untried: tuple[str, ...] = ()) -> Found:
    """Nobody was told yet: everybody is waited for."""
    pending = tuple(context.hub.connected())
    return Found(context.replicas.boot, known=False, unread=unread, untried=untried, pending=pending)


async def _revision(context: ApiContext, awaited: Awaited) -> int:
    if awaited.store:
        return await _compiled(context, awaited.store)
    return context.compiled.value.revision


async def _read(context: ApiContext, documents: Sequence[Written], end: float) -> list[Written]:
    """Wait until the mesh in force is made of these; those that it was not by the `end`. Of what is read only where
    something refers to it, and of what is not in view, nobody can say that it has to come."""
    loop = asyncio.get_running_loop()
    soon = min(end, loop.time() + UNCERTAIN_SECONDS)
    while documents:
        version = context.compiled.version
        found = {one.key: one for one in context.compiled.value.documents}
        left = [one for one in documents if not one.is_in(found.get(one.key)) and _may_come(one, one.key in found)]
        out = context.collector.snapshot.left_out if left else frozenset()
        certain = [one for one in left if _has_to_come(one, out) and not one.may_be_in(found.get(one.key))]
        until = end if certain else soon
        if not left or loop.time() >= until:
            return certain
        try:
            async with asyncio.timeout_at(until):
                await context.compiled.changed(version)
        except TimeoutError:
            continue
    return []


def _may_come(one: Written, is_there: bool) -> bool:
    return is_there or (one.group, one.kind) in _FOLLOWED


def _has_to_come(one: Written, left_out: Collection[str]) -> bool:
    return (one.group, one.kind) in _FOLLOWED and (one.gone or one.namespace not in left_out)


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


def _answer(boot: str, revision: int, untried: tuple[str, ...], results: Sequence[WaitResult]) -> Found:
    """One answer of several waits: of a proxy counts what the latest says that it is in."""
    latest = results[-1]
    said = {*latest.confirmed, *latest.pending, *latest.stuck, *(nack.proxy for nack in latest.nacked)}
    before = results[:-1]

    def names(word: str) -> tuple[str, ...]:
        earlier = [name for one in before for name in getattr(one, word) if name not in said]
        return (*getattr(latest, word), *earlier)

    return Found(
        boot,
        revision=revision,
        untried=untried,
        confirmed=names("confirmed"),
        nacked=(*latest.nacked, *(nack for one in before for nack in one.nacked if nack.proxy not in said)),
        pending=names("pending"),
        stuck=names("stuck"),
        gone=names("gone"),
    )
