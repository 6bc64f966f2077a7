"""The admin API: its route table, put together from the resources' own, behind the guard."""

from __future__ import annotations

import contextlib
import time

from aiohttp import web

from weft.admin.authorization import Authorization
from weft.admin.ca import CertificateAuthority
from weft.admin.checking import Checking
from weft.admin.confirming import Confirming
from weft.admin.context import ApiContext
from weft.admin.dashboard.board import Dashboard
from weft.admin.dashboard.picture import picture_parts
from weft.admin.documents import Documents
from weft.admin.events import Events
from weft.admin.explain import Explain
from weft.admin.federation import FederationResource
from weft.admin.graph import Graph
from weft.admin.guard import new_guard
from weft.admin.history.handlers import History
from weft.admin.identities import Identities
from weft.admin.injection import Injection
from weft.admin.metrics import Metrics
from weft.admin.openapi import build_description
from weft.admin.people.failures import Failures
from weft.admin.people.gate import Entrance, Gate, Readable
from weft.admin.people.handlers import Principals
from weft.admin.people.principals import People
from weft.admin.proxies import Proxies
from weft.admin.replies import reply
from weft.admin.requests import Requests
from weft.admin.routing import Route
from weft.admin.secrets import Secrets
from weft.admin.server import new_application
from weft.admin.signals import ProxySignals
from weft.admin.status import Status
from weft.admin.tokens import Tokens
from weft.admin.traffic import TrafficResource
from weft.admin.validation import Validation
from weft.store.protocol import StoreError

BODY_LIMIT = 8 * 1024 * 1024


def admin_routes(
    context: ApiContext,
    graph: Graph | None = None,
    checking: Checking | None = None,
    dashboard: Dashboard | None = None,
    people: People | None = None,
) -> tuple[Route, ...]:
    """The whole route table. Graph and checks are the same for their own paths and for the dashboard."""
    graph, checking = graph or Graph(context), checking or Checking(context)
    parts = (
        Documents(context),
        Validation(context),
        Confirming(context),
        Proxies(context),
        ProxySignals(context),
        Status(context),
        Events(context),
        Explain(context),
        Authorization(context),
        Requests(context),
        History(context),
        checking,
        Tokens(context),
        Identities(context),
        Secrets(context),
        Principals(context, people or People(context.store, context.clock)),
        CertificateAuthority(context),
        TrafficResource(context),
        graph,
        Metrics(context),
        FederationResource(context),
        Injection(context),
        dashboard or _board(context, graph, checking),
    )
    routes = tuple(route for part in parts for route in part.routes())

    async def describe(_request: web.Request) -> web.Response:
        return reply(build_description(table))

    own = Route("GET", "/v1/openapi.json", describe, "This API's OpenAPI description")
    table: tuple[Route, ...] = (*routes, own)
    return table


def _board(context: ApiContext, graph: Graph, checking: Checking) -> Dashboard:
    async def record(who: str, action: str) -> None:
        with contextlib.suppress(StoreError):  # a page opens also while the store is away
            await context.store.write([context.audit.done(who, action)])

    return Dashboard(picture_parts(context, graph, checking), context.clock, record)


def admin_application(
    context: ApiContext, token: str, reader: str = "", entrance: Entrance | None = None
) -> web.Application:
    """The web application with the dashboard's page; every path but the public ones wants `token`, a principal's, a
    session, or, to be read, that of a `reader`. `entrance` is for those who come from other hosts."""
    graph, people = Graph(context), People(context.store, context.clock)
    checking = Checking(context, people.problems)
    board = _board(context, graph, checking)
    table = admin_routes(context, graph, checking, board, people)
    public = frozenset(route.path for route in table if route.public)
    readable = Readable(frozenset(route.path for route in table if route.readable), reader)
    gate = Gate(token, context.audit, people, Failures(time.monotonic), entrance or Entrance(), readable)
    board.admits(gate.knows)
    guard = new_guard(gate, context.audit, board.sessions, lambda path: path in public or board.is_public(path))
    application = new_application(guard, body_limit=BODY_LIMIT, answered=context.answered("admin"))
    for route in table:
        application.router.add_route(route.method, route.path, route.handler)
    application.cleanup_ctx.append(people.running)
    board.add_to(application)
    return application
