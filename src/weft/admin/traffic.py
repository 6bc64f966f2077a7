"""Traffic through the admin API: who called whom, how often, how well and how fast, in the last minutes or hours."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, reply, seconds
from weft.admin.routing import Parameter, Route
from weft.model.report import CELL_SECONDS
from weft.traffic.edges import Asked, UnknownTrafficError
from weft.traffic.groups import BY, By, chosen, grouped
from weft.traffic.rows import point_row, window_row

LONGEST_WINDOW = 86400.0
USUAL_WINDOW = 60.0
MOST_POINTS = 1500
_USUAL_POINTS = 60
_STEPS = (10, 60, 120, 300, 600, 1800, 3600)
_WINDOW = Parameter("window", "seconds to look back, at most a day; 60 if not given", "number")
_FILTERS = (
    Parameter("source", "only calls of this workload, NAMESPACE/WORKLOAD"),
    Parameter("destination", "only calls to this service, NAMESPACE/SERVICE, or to this host"),
    Parameter("workload", "only calls of or to this workload, NAMESPACE/WORKLOAD"),
)
_CHOICE = (
    Parameter("name", "only what is about this service, workload or route; may be given again"),
    Parameter("namespace", "only calls from or to this namespace; may be given again"),
    Parameter("by", f"what a row is: {', '.join(BY)}; edge if not given"),
)


class TrafficResource:
    """Handlers of ``/v1/traffic``."""

    def __init__(self, context: ApiContext) -> None:
        self._traffic = context.traffic

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        step = Parameter("step", "seconds from point to point, a multiple of 10; what makes about 60 points", "integer")
        edges, series = (_WINDOW, *_FILTERS, *_CHOICE), (_WINDOW, step, *_FILTERS)
        return (
            Route("GET", "/v1/traffic", self.edges, "Who called whom, how often, how well, how fast", edges),
            Route("GET", "/v1/traffic/series", self.series, "The same by time", series),
        )

    async def edges(self, request: web.Request) -> web.Response:
        """``GET /v1/traffic``."""
        by = _by(request)
        asked = _asked(request, by_route=by == "route" or "name" in request.query)
        try:
            window = await self._traffic.window(_window(request), asked)
        except UnknownTrafficError as error:
            raise Refused(502, "traffic-unknown", str(error)) from error
        found = chosen(window.edges, request.query.getall("name", []), request.query.getall("namespace", []))
        return reply(window_row(replace(window, edges=grouped(found, by))))

    async def series(self, request: web.Request) -> web.Response:
        """``GET /v1/traffic/series``."""
        window = _window(request)
        step = _step(request, window)
        try:
            points = await self._traffic.series(window, step, _asked(request))
        except UnknownTrafficError as error:
            raise Refused(502, "traffic-unknown", str(error)) from error
        return reply({"step": step, "points": [point_row(point) for point in points]})


def _by(request: web.Request) -> By:
    text = request.query.get("by", "edge")
    found = next((by for by in BY if by == text), None)
    if found is None:
        raise Refused(400, "bad-parameter", f"by={text[:40]!r}: expected {', '.join(BY)}")
    return found


def _window(request: web.Request) -> float:
    window = seconds(request, "window", LONGEST_WINDOW)
    return USUAL_WINDOW if window is None else max(window, float(CELL_SECONDS))


def _asked(request: web.Request, *, by_route: bool = False) -> Asked:
    source, destination, workload = (request.query.get(one.name, "") for one in _FILTERS)
    return Asked(source, destination, workload, by_route)


def _step(request: web.Request, window: float) -> int:
    usual = next((step for step in _STEPS if window / step <= _USUAL_POINTS), _STEPS[-1])
    text = request.query.get("step", str(usual))
    step = int(text) if text.isdecimal() and len(text) < 6 else 0
    if step < CELL_SECONDS or step % CELL_SECONDS or step > LONGEST_WINDOW:
        raise Refused(400, "bad-parameter", f"step={text[:40]!r}: expected seconds, a multiple of {CELL_SECONDS}")
    if window / step > MOST_POINTS:
        raise Refused(400, "bad-parameter", f"step={step}: more than {MOST_POINTS} points, expected a longer step")
    return step
