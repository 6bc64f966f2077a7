"""Validation through the admin API: what would be wrong if documents were in force, with all that is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import reply
from weft.admin.routing import Route
from weft.admin.texts import BODY, PARAMETERS, decoded_of
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.referred import without_unread
from weft.model.document import Document
from weft.model.problem import Problem, distinct, problem_mapping
from weft.model.snapshot import ConfigSnapshot
from weft.provision.parameters import parameters_problems


class Validation:
    """The handler of ``/v1/validation``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The row of the route table."""
        what = "What would be wrong if these documents were in force, those of followed files too; changes nothing"
        return (Route("POST", "/v1/validation", self.validate, what, PARAMETERS, BODY),)

    async def validate(self, request: web.Request) -> web.Response:
        """``POST /v1/validation``: how many documents can be read, and every Problem, errors or not."""
        decoded = await decoded_of(request)
        meaning = await problems_with(self._context, decoded.documents, decoded.problems)
        problems = [problem_mapping(problem) for problem in distinct((*decoded.problems, *meaning))]
        return reply({"documents": len(decoded.documents), "problems": problems})


async def problems_with(
    context: ApiContext, documents: Iterable[Document[object]], told: tuple[Problem, ...] = ()
) -> tuple[Problem, ...]:
    """What would be wrong between `documents` and all others in a mesh where they are in force. `told` is what is wrong
    with each alone."""
    return await asyncio.to_thread(problems_in, context.collector.snapshot, documents, told)


def problems_in(
    snapshot: ConfigSnapshot, documents: Iterable[Document[object]], told: tuple[Problem, ...] = ()
) -> tuple[Problem, ...]:
    """The same for any snapshot; takes as long as a mesh takes to be made."""
    new = {document.key: document for document in documents}
    everything = {document.key: document for document in snapshot.documents} | new
    combined = replace(
        snapshot,
        documents=tuple(document for _, document in sorted(everything.items())),
        problems=(*snapshot.problems, *told),
    )
    mesh = build_mesh(combined, Memo())
    own = [problem for problem in mesh.problems if problem.object in new]
    further = [problem for problem in parameters_problems(combined.documents) if problem.object in new]
    return (*without_unread(own, snapshot, combined), *further)
