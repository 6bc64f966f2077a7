"""The graph through the admin API: services, who calls them and how that goes, laid out."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

import msgspec
from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import instant, reply, seconds
from weft.admin.routing import Parameter, Route
from weft.admin.status import Status
from weft.mesh.model import Mesh
from weft.model.problem import Problem
from weft.traffic import graph as graphs
from weft.traffic.edges import Window
from weft.traffic.graph import EVERYTHING, Shown, build_graph
from weft.traffic.intents import NO_INTENTS, Intents, build_intents
from weft.traffic.layout import Layout

LONGEST_WINDOW = 86400.0
USUAL_WINDOW = 60.0
_FAULTS = frozenset({"DI", "FI"})
"""Envoy's response flags of requests that a fault delayed or answered."""
_LAYOUTS = 16
"""How many pictures (by what they show) are remembered, so that nothing moves in them."""


class Graph:
    """Handlers of the graph."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._status = Status(context)
        self._layouts: dict[Shown, Layout] = {}
        self._meant: tuple[Mesh | None, Intents] = (None, NO_INTENTS)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        parameters = (
            Parameter("window", "seconds to look back, at most a day; 60 if not given", "number"),
            Parameter("namespace", "namespaces to show, with those that they call or are called by; by commas"),
            Parameter("fold", "namespaces to show as one node each, by commas; *: all"),
        )
        return (Route("GET", "/v1/graph", self.graph, "Services, who calls them, how often and how well", parameters),)

    async def graph(self, request: web.Request) -> web.Response:
        """``GET /v1/graph``."""
        longest = seconds(request, "window", LONGEST_WINDOW)
        shown = Shown(_names(request, "namespace"), _names(request, "fold"))
        return reply(await self.picture(USUAL_WINDOW if longest is None else longest, shown))

    async def picture(self, longest: float = USUAL_WINDOW, shown: Shown = EVERYTHING) -> dict[str, Any]:
        """The graph of the last so many seconds, as JSON."""
        window = await self._context.traffic.window(longest)
        found = await self._build(window, self._status.found(), shown)
        times = {"from": instant(window.since), "until": instant(window.until)}
        told: dict[str, Any] = times | msgspec.to_builtins(found)
        return told

    async def trouble(self, longest: float, known: Container[str] = ()) -> dict[str, dict[str, int]]:
        """The edges on which requests failed, or were delayed or answered by a fault, in the last so many seconds, and
        those that are `known` to have had such: ``FROM TO`` with how many of how many. It tells sooner than a long
        window that something goes wrong, and that it does no more."""
        window = await self._context.traffic.window(longest)
        if not known and not any(edge.failures or edge.flags for edge in window.edges):
            return {}
        found = await self._build(window, (), EVERYTHING)
        told = {}
        for link in found.edges:
            failed = round(link.requests * (1 - link.success_rate)) if link.success_rate is not None else 0
            faults = sum(count for flags, count in link.flags.items() if not _FAULTS.isdisjoint(flags.split(",")))
            pair = f"{link.caller} {link.callee}"
            if failed or faults or pair in known:
                told[pair] = {"requests": link.requests, "failed": failed, "faults": faults}
        return told

    async def _build(self, window: Window, problems: tuple[Problem, ...], shown: Shown) -> graphs.Graph:
        mesh = self._context.compiled.value.mesh
        known, intents = self._meant
        if mesh is not None and mesh is not known:
            intents = await asyncio.to_thread(build_intents, mesh)
            self._meant = (mesh, intents)
        former = self._layouts.get(shown)
        found, layout = await asyncio.to_thread(build_graph, intents, window, problems, shown, former)
        self._remember(shown, layout)
        return found

    def _remember(self, shown: Shown, layout: Layout) -> None:
        """Forgets what nobody has looked at for the longest time."""
        self._layouts.pop(shown, None)
        self._layouts[shown] = layout
        while len(self._layouts) > _LAYOUTS:
            del self._layouts[next(iter(self._layouts))]


def _names(request: web.Request, parameter: str) -> frozenset[str]:
    return frozenset(name for text in request.query.getall(parameter, []) for name in text.split(",") if name)
