"""Confirmation of what was written to the API server: whether it is in force, and whether every proxy has taken it."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from weft.admin.confirmation import LONGEST_WAIT
from weft.admin.context import INTERNAL, ApiContext
from weft.admin.replicas.everywhere import confirmed_everywhere
from weft.admin.replicas.rows import Awaited, Sought
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.routing import WAIT, Route
from weft.admin.waited import unread, waited
from weft.admin.written import Written
from weft.model.problem import distinct, problem_mapping

_MOST = 1000


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    documents: tuple[Written, ...]
    since: int = -1
    ticket: dict[str, int] | None = None


class Confirming:
    """Handlers of ``/v1/confirmation``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        body = (
            "JSON: documents (group, kind, namespace, name, uid, generation, version, gone), and what GET told before "
            "they were written (since, which is its revision, and ticket)"
        )
        text = "Whether objects of the API server are in force, and who has confirmed what changed since a revision"
        return (
            Route("GET", "/v1/confirmation", self.revision, "The revision of the mesh that is in force, and a ticket"),
            Route("POST", "/v1/confirmation", self.confirm, text, (WAIT,), body=body),
        )

    async def revision(self, _request: web.Request) -> web.Response:
        """``GET /v1/confirmation``. Each replica of the control plane counts revisions by itself: the ticket has those
        of all that answer, by the process."""
        replicas, revision = self._context.replicas, self._context.compiled.value.revision
        return reply({"revision": revision, "ticket": {**await replicas.in_force(), replicas.boot: revision}})

    async def confirm(self, request: web.Request) -> web.Response:
        """``POST /v1/confirmation``: answers as ``POST /v1/documents`` does, with ``unread`` for what a control plane
        has not read in time. The proxies of all replicas of the control plane are waited for."""
        if not self._context.kubernetes:
            raise Refused(409, "no-cluster", "this control plane takes no documents from a cluster")
        body: _Body = await json_body(request, _Body)
        if len(body.documents) > _MOST:
            raise Refused(413, "too-many-documents", f"expected at most {_MOST} documents")
        end = asyncio.get_running_loop().time() + (seconds(request, WAIT.name, LONGEST_WAIT) or 0.0)
        sought = tuple(msgspec.convert(one, Sought, from_attributes=True) for one in body.documents)
        ticket = body.ticket  # without one another replica may have told `since`: it means nothing then
        if ticket is None and not self._context.replicas.alone:
            ticket = {}
        found = await confirmed_everywhere(self._context, Awaited(sought, since=body.since), end, ticket=ticket)
        compiled, keys = self._context.compiled.value, {one.key for one in body.documents}
        problems = distinct(one for one in compiled.problems if one.object in keys or one.code == INTERNAL)
        answer = {
            "revision": compiled.revision,
            "problems": [problem_mapping(problem) for problem in problems],
            "wait": waited(found),
            "unread": unread(found),
        }
        return reply(answer)
