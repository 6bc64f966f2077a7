"""The parts of the live picture: how the control plane is, what is wrong, what proxies hold."""

from __future__ import annotations

from collections.abc import Mapping

from weft import __version__
from weft.admin.checking import Checking
from weft.admin.context import ApiContext
from weft.admin.dashboard.live import Part
from weft.admin.graph import USUAL_WINDOW, Graph
from weft.admin.status import Status
from weft.discovery.status import ProxyStatus
from weft.model.problem import Severity, problem_mapping
from weft.traffic.edges import UnknownTrafficError

_CHECK_SECONDS = 15.0
_RECENT_SECONDS = 10.0
"""What fails is to be seen at once, and what fails no more is to be forgotten soon."""
_ROUNDED = frozenset({"requests_per_second", "p50_ms", "p95_ms", "p99_ms"})
_PROBLEMS = 500
"""Of more, the page shows these and how many there are."""


def picture_parts(context: ApiContext, graph: Graph, checking: Checking) -> Mapping[str, Part]:
    """Name -> what makes the part's present value."""
    picture = _Picture(context, graph, checking)
    return {
        "health": picture.health,
        "problems": picture.problems,
        "findings": picture.findings,
        "proxies": picture.proxies,
        "graph": _told(picture.graph),
        "trouble": _told(picture.trouble),
    }


def _told(part: Part) -> Part:
    """`part`; where the traffic is not known, its value says why."""

    async def value() -> object:
        try:
            return await part()
        except UnknownTrafficError as error:
            return {"error": str(error)}

    return value


class _Picture:
    def __init__(self, context: ApiContext, graph: Graph, checking: Checking) -> None:
        self._context = context
        self._graph = graph
        self._troubled: dict[str, float] = {}
        self._status = Status(context)
        self._checking = checking
        self._checked: tuple[object, float, object] = (None, 0.0, {})

    async def findings(self) -> object:
        """What is not well, as ``GET /v1/check`` tells it: looked for anew when something changed, and at times."""
        about, (before, when, told) = (self._context.compiled.value.revision, self._status.found()), self._checked
        now = self._context.clock()
        if before != about or abs(now - when) > _CHECK_SECONDS:
            told = await self._checking.told()
            self._checked = (about, now, told)
        return told

    async def graph(self) -> object:
        """The graph, with rates as exact as they are shown: what nobody sees change is not sent again."""
        told = await self._graph.picture()
        return told | {name: [_rounded(row) for row in told[name]] for name in ("nodes", "edges")}

    async def trouble(self) -> object:
        """Where requests fail now, and where they did within the graph's window, so that it is seen when that ends."""
        now = self._context.clock()
        self._troubled = {pair: when for pair, when in self._troubled.items() if 0 <= now - when < USUAL_WINDOW}
        found = await self._graph.trouble(_RECENT_SECONDS, self._troubled)
        self._troubled |= {pair: now for pair, counts in found.items() if counts["failed"] or counts["faults"]}
        return found

    async def health(self) -> object:
        """Numbers that the frame of the page shows, and `revision`, which tells it when to ask for more."""
        context = self._context
        found = self._status.found()
        errors = sum(problem.severity is Severity.ERROR for problem in found)
        statuses = context.hub.proxies()
        return {
            "status": "degraded" if context.faults() else "ok",
            "version": __version__,
            "revision": context.collector.snapshot.revision,
            "compiled": context.compiled.value.revision,
            "errors": errors,
            "warnings": len(found) - errors,
            "documents": len(context.collector.snapshot.documents),
            "workloads": len(context.collector.snapshot.workloads),
            "proxies": len({*(status.name for status in statuses), *context.replicas.proxies()}),
            "proxies_pending": sum(status.pending for status in statuses),
        }

    async def problems(self) -> object:
        """Everything that is wrong now, as ``GET /v1/problems`` tells it."""
        found = self._status.found()
        return {"count": len(found), "problems": [problem_mapping(problem) for problem in found[:_PROBLEMS]]}

    async def proxies(self) -> object:
        """Proxy -> what state it is in, one word each."""
        return {status.name: _state(status) for status in self._context.hub.proxies()}


def _rounded(row: Mapping[str, object]) -> dict[str, object]:
    """A node or an edge with three digits of its rate and its latencies."""
    return {
        name: float(f"{one:.3g}") if isinstance(one, float) and name in _ROUNDED else one for name, one in row.items()
    }


def _state(status: ProxyStatus) -> str:
    if status.stuck:
        return "stuck"
    if any(kind.rejected for kind in status.types):
        return "refuses"
    return "pending" if status.pending else "in sync"
