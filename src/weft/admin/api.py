"""The admin API: its route table, put together from the resources' own, behind the guard."""

from __future__ import annotations

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.documents import Documents
from weft.admin.guard import new_guard
from weft.admin.openapi import build_description
from weft.admin.proxies import Proxies
from weft.admin.replies import reply
from weft.admin.routing import Route
from weft.admin.server import new_application
from weft.admin.status import Status
from weft.admin.tokens import Tokens
from weft.admin.validation import Validation

BODY_LIMIT = 8 * 1024 * 1024


def admin_routes(context: ApiContext) -> tuple[Route, ...]:
    """The whole route table."""
    parts = (Documents(context), Validation(context), Proxies(context), Status(context), Tokens(context))
    routes = tuple(route for part in parts for route in part.routes())

    async def describe(_request: web.Request) -> web.Response:
        return reply(build_description(table))

    own = Route("GET", "/v1/openapi.json", describe, "This API's OpenAPI description")
    table: tuple[Route, ...] = (*routes, own)
    return table


def admin_application(context: ApiContext, token: str) -> web.Application:
    """The web application; every path but the public ones wants `token`."""
    table = admin_routes(context)
    public = frozenset(route.path for route in table if route.public)
    application = new_application(new_guard(token, context.audit, public), body_limit=BODY_LIMIT)
    for route in table:
        application.router.add_route(route.method, route.path, route.handler)
    return application
