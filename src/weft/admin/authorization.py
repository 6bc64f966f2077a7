"""Authorization through the admin API: may this caller call that, by which policy; all of a place; the matrix."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, json_body, reply
from weft.admin.routing import Parameter, Route
from weft.explain.authorization import Asked, check, listing
from weft.explain.callers import UnknownNameError
from weft.explain.matrix import Matrix, build_matrix
from weft.mesh.model import Mesh

AnswerT = TypeVar("AnswerT")
_LONGEST = 8192
_MOST_HEADERS = 100
_MOST_CLAIMS = 200
_TEXTS = ("from", "to", "method", "path", "source_ip", "namespace")


class Authorization:
    """Handlers of ``/v1/authz``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._matrix: tuple[Mesh | None, tuple[str, ...], Matrix | None] = (None, (), None)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        namespace = Parameter("namespace", "where names without one are; 'default' if not given")
        of = Parameter("of", "a workload, or a service with or without port")
        shown = Parameter("namespace", "the namespaces whose services are shown, by commas; all if not given")
        text = "Whether a call is allowed, and by which policy, file and line"
        body = "from, to, method, path, headers, claims, source_ip, namespace"
        return (
            Route("POST", "/v1/authz/check", self.check, text, body=body),
            Route("GET", "/v1/authz/policies", self.policies, "The policies at a place, in order", (of, namespace)),
            Route("GET", "/v1/authz/matrix", self.matrix, "Who can call whom in the whole mesh", (shown,)),
        )

    async def check(self, request: web.Request) -> web.Response:
        """``POST /v1/authz/check``."""
        asked = _asked(await json_body(request, dict[str, object]))
        mesh = self._mesh()
        return reply(await _answered(lambda: check(mesh, asked)))

    async def policies(self, request: web.Request) -> web.Response:
        """``GET /v1/authz/policies``."""
        of = request.query.get("of", "")[:_LONGEST]
        namespace = request.query.get("namespace", "default")[:_LONGEST]
        if not of:
            raise Refused(400, "bad-parameter", "of: expected a workload or a service")
        mesh = self._mesh()
        return reply({"places": await _answered(lambda: listing(mesh, of, namespace))})

    async def matrix(self, request: web.Request) -> web.Response:
        """``GET /v1/authz/matrix``; the latest one is kept while its mesh is in force."""
        text = request.query.get("namespace", "")[:_LONGEST]
        namespaces = tuple(sorted({one.strip() for one in text.split(",") if one.strip()}))
        mesh = self._mesh()
        before, about, found = self._matrix
        if found is None or before is not mesh or about != namespaces:
            found = await _answered(lambda: build_matrix(mesh, namespaces))
            self._matrix = (mesh, namespaces, found)
        return reply(found)

    def _mesh(self) -> Mesh:
        mesh = self._context.compiled.value.mesh
        if mesh is None:
            raise Refused(503, "not-built", "no mesh is in force yet; see weft problems")
        return mesh


async def _answered(work: Callable[[], AnswerT]) -> AnswerT:
    """The answer, worked out beside the event loop."""
    try:
        return await asyncio.to_thread(work)
    except UnknownNameError as error:
        raise Refused(404, "unknown-name", str(error)) from error


def _is_header(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _asked(given: dict[str, object]) -> Asked:
    texts = {name: given.get(name) for name in _TEXTS if given.get(name)}
    headers, claims = given.get("headers") or {}, given.get("claims")
    if not all(isinstance(value, str) and len(value) <= _LONGEST for value in texts.values()):
        raise Refused(400, "bad-body", f"expected texts of at most {_LONGEST} characters in {', '.join(_TEXTS)}")
    if not isinstance(headers, dict) or not all(map(_is_header, headers.values())):
        raise Refused(400, "bad-body", "headers: expected an object of texts, or of lists of texts")
    if claims is not None and not isinstance(claims, dict):
        raise Refused(400, "bad-body", "claims: expected an object")
    if len(headers) > _MOST_HEADERS or (claims is not None and len(claims) > _MOST_CLAIMS):
        raise Refused(400, "bad-body", f"expected at most {_MOST_HEADERS} headers and {_MOST_CLAIMS} claims")
    found = {name: str(value) for name, value in texts.items()}
    if "from" not in found or "to" not in found:
        raise Refused(400, "bad-body", "say who calls (from) and what is called (to)")
    caller, to = found.pop("from"), found.pop("to")
    named = {str(name): (value,) if isinstance(value, str) else tuple(value) for name, value in headers.items()}
    return Asked(caller, to, headers=named, claims=claims, **found)
