"""Signals through the admin API: what a proxy says about traffic, and which document and line asked for it."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, reply
from weft.admin.routing import Route
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.telemetry import Asked, metric_settings, signals_of
from weft.model.document import key_mapping
from weft.model.workload import Workload
from weft.schema.wording import nearest_name


class ProxySignals:
    """Handlers of ``/v1/proxies/{name}/signals``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        summary = "The metrics, access logs and traces of a proxy, and which document and line asked for each"
        return (Route("GET", "/v1/proxies/{name}/signals", self.signals, summary),)

    async def signals(self, request: web.Request) -> web.Response:
        """``GET /v1/proxies/{name}/signals``."""
        mesh = self._context.compiled.value.mesh
        workload = _workload(mesh, request.match_info["name"]) if mesh else None
        if mesh is None or workload is None:
            name = request.match_info["name"][:100]
            known = [each.proxy for each in mesh.workloads] if mesh else []
            near = nearest_name(name, known)
            hint = f" (did you mean '{near}'?)" if near else ""
            raise Refused(404, "unknown-proxy", f"there is no workload '{name}'{hint}")
        return reply({"proxy": workload.proxy, **signals_json(mesh, workload)})


def signals_json(mesh: Mesh, workload: Workload) -> dict[str, object]:
    """The signals of a workload's proxy as JSON; a gateway has those of callers only."""
    found = signals_of(Memo(), mesh.telemetries, workload, mesh.catalog)
    sides = (found.outgoing,) if workload.gateway is not None else (found.outgoing, found.incoming)
    rows = [_row(asked) for side in sides for asked in side.asked]
    return {"signals": rows, "metrics": asdict(metric_settings(mesh.telemetries, workload, mesh.catalog))}


def _row(asked: Asked) -> dict[str, object]:
    return {
        "side": asked.side,
        "signal": asked.signal,
        "what": asked.what,
        "object": key_mapping(asked.object) if asked.object else None,
        "source": str(asked.origin) if asked.origin else "",
    }


def _workload(mesh: Mesh, name: str) -> Workload | None:
    """The workload of a proxy's name, or of a name alone that only one has."""
    named = [each for each in mesh.workloads if name in (each.proxy, each.name)]
    exact = [each for each in named if each.proxy == name]
    return exact[0] if exact else named[0] if len(named) == 1 else None
