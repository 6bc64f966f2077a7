"""Confirmation of what was written to the API server: whether it is in force, and whether every proxy has taken it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web

from weft.admin.confirmation import LONGEST_WAIT, confirmation_of, unpublished
from weft.admin.context import INTERNAL, ApiContext
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.routing import WAIT, Route
from weft.model.document import Document, ObjectKey
from weft.model.problem import distinct, problem_mapping
from weft.sources.kubernetes.discovery import FOLLOWED

_MOST = 1000
_UNVERSIONED_SECONDS = 2.0
"""For objects without a generation: what they say may be the same as before for the mesh, and is not read anew then."""
_FOLLOWED = frozenset((kind.group, kind.name) for kind in FOLLOWED)


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object as the API server has it: `generation` 0 where its kind has none, `version` its resourceVersion; or one
    that is `gone`."""

    group: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    version: str = ""
    gone: bool = False

    @property
    def key(self) -> ObjectKey:
        """What names it."""
        return ObjectKey(self.group, self.kind, self.namespace, self.name)


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    documents: tuple[Written, ...]
    since: int = -1


class Confirming:
    """Handlers of ``/v1/confirmation``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        body = "JSON: documents (group, kind, namespace, name, uid, generation, version, gone), since (a revision)"
        text = "Whether objects of the API server are in force, and who has confirmed what changed since a revision"
        return (
            Route("GET", "/v1/confirmation", self.revision, "The revision of the mesh that is in force"),
            Route("POST", "/v1/confirmation", self.confirm, text, (WAIT,), body=body),
        )

    async def revision(self, _request: web.Request) -> web.Response:
        """``GET /v1/confirmation``."""
        return reply({"revision": self._context.compiled.value.revision})

    async def confirm(self, request: web.Request) -> web.Response:
        """``POST /v1/confirmation``: answers as ``POST /v1/documents`` does, with ``unread`` for what the control plane
        has not read in time, and ``elsewhere`` for the other replicas of the control plane, whose proxies are not
        asked."""
        if not self._context.kubernetes:
            raise Refused(409, "no-cluster", "this control plane takes no documents from a cluster")
        body: _Body = await json_body(request, _Body)
        if len(body.documents) > _MOST:
            raise Refused(413, "too-many-documents", f"expected at most {_MOST} documents")
        loop = asyncio.get_running_loop()
        end = loop.time() + (seconds(request, WAIT.name, LONGEST_WAIT) or 0.0)
        wanted = [one for one in body.documents if (one.group, one.kind) in _FOLLOWED]
        unread = await self._read(wanted, end)
        compiled = self._context.compiled.value
        keys = {one.key for one in body.documents}
        since = body.since if body.since >= 0 else None
        confirmed = (
            unpublished(self._context)
            if unread
            else await confirmation_of(self._context, compiled.revision, end, keys, since)
        )
        found = [one for one in self._context.compiled.value.problems if one.object in keys or one.code == INTERNAL]
        problems = [problem_mapping(problem) for problem in distinct(found)]
        names = [str(one.key) for one in unread]
        waited = {**confirmed, "elsewhere": sorted(link.name for link in self._context.replicas.links)}
        return reply({"revision": compiled.revision, "problems": problems, "wait": waited, "unread": names})

    async def _read(self, wanted: Sequence[Written], end: float) -> list[Written]:
        """Wait until the mesh in force is made of these; those that it was not by the `end`."""
        loop = asyncio.get_running_loop()
        soon = min(end, loop.time() + _UNVERSIONED_SECONDS)
        while True:
            version = self._context.compiled.version
            documents = {one.key: one for one in self._context.compiled.value.documents}
            left = [one for one in wanted if not _is_there(one, documents.get(one.key))]
            strict = [one for one in left if one.generation or one.gone]
            until = end if strict else soon
            if not left or loop.time() >= until:
                return strict
            try:
                async with asyncio.timeout_at(until):
                    await self._context.compiled.changed(version)
            except TimeoutError:
                continue


def _is_there(wanted: Written, document: Document[object] | None) -> bool:
    if wanted.gone:
        return document is None or wanted.uid not in ("", _uid(document))
    if document is None or wanted.uid not in ("", _uid(document)):
        return False
    if wanted.generation:
        return document.generation >= wanted.generation
    version = document.origin.source.rpartition("@")[2]
    return version.isdecimal() and wanted.version.isdecimal() and int(version) >= int(wanted.version)


def _uid(document: Document[object]) -> str:
    return document.origin.source.rpartition("@")[0].rpartition("/")[2]
