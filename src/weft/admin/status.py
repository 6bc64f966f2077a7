"""State of the mesh through the admin API: problems, workloads, services, health, version."""

from __future__ import annotations

import platform

from aiohttp import web

from weft import __version__
from weft.admin.context import ApiContext
from weft.admin.replies import flag, instant, reply
from weft.admin.routing import Parameter, Route
from weft.mesh.services.addresses import ServiceAddresses
from weft.mesh.services.service import Service
from weft.model.locality import NOWHERE
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity, problem_mapping

IDLE_AFTER = 30.0
"""Seconds after which documents that wait for a workload are told about: a mesh that starts is not all wrong."""
_AT_ONCE = Parameter("at_once", "1: also what has waited for a workload for less than 30 s")


class Status:
    """Handlers of what is read."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (
            Route("GET", "/v1/problems", self.problems, "Everything that is wrong now", (_AT_ONCE,)),
            Route("GET", "/v1/workloads", self.workloads, "Registered workloads"),
            Route("GET", "/v1/services", self.services, "Services of the mesh and their endpoints"),
            Route("GET", "/v1/health", self.health, "Whether the control plane works", public=True),
            Route("GET", "/v1/version", self.version, "Versions"),
        )

    def found(self, idle_after: float = IDLE_AFTER) -> tuple[Problem, ...]:
        """All Problems, each once; those that only wait for a workload after `idle_after` seconds."""
        context = self._context
        everything = (
            *context.faults(),
            *context.collector.snapshot.problems,
            *context.compiled.value.problems,
            *context.compiled.value.idle_for(idle_after, context.clock()),
            *context.hub.problems(),
            *context.replicas.troubles(),
            *map(_silent_agent, context.leases.silent()),
        )
        return tuple(dict.fromkeys(everything))

    async def problems(self, request: web.Request) -> web.Response:
        """``GET /v1/problems``."""
        found = self.found(0.0 if flag(request, _AT_ONCE.name) else IDLE_AFTER)
        return reply({"problems": [problem_mapping(problem) for problem in found]})

    async def workloads(self, _request: web.Request) -> web.Response:
        """``GET /v1/workloads``: as registered, with proxy name, the end of the lease, and whether only the proxy
        holds it; `revision` is the snapshot's, which proxies that know them have confirmed."""
        leases, silent = await self._context.store.leases(), frozenset(self._context.leases.silent())
        connected = {*self._context.hub.connected(), *self._context.replicas.proxies()}
        rows = []
        for one in self._context.collector.snapshot.workloads:
            row: dict[str, object] = {name: getattr(one, name) for name in one.__dataclass_fields__}
            row["labels"] = dict(one.labels)
            row["locality"] = str(one.place)
            row |= {"proxy": one.proxy, "connected": one.speaker in connected}
            end = leases.get(f"{one.namespace}/{one.name}")
            row["lease_expires"] = None if end is None else instant(end)
            row["agent_silent"] = f"{one.namespace}/{one.name}" in silent
            rows.append(row)
        return reply({"revision": self._context.collector.snapshot.revision, "workloads": rows})

    async def services(self, _request: web.Request) -> web.Response:
        """``GET /v1/services``."""
        mesh = self._context.compiled.value.mesh
        found = [_service_json(one, mesh.addresses.of(one.host)) for one in mesh.services.all] if mesh else []
        return reply({"services": found})

    async def health(self, _request: web.Request) -> web.Response:
        """``GET /v1/health``: no details for those without a token; see problems for them. One that is about to
        stop is not ready."""
        if self._context.stopping.value:
            return reply({"status": "stopping"}, 503)
        faults = self._context.faults()
        return reply({"status": "degraded" if faults else "ok"})

    async def version(self, _request: web.Request) -> web.Response:
        """``GET /v1/version``."""
        return reply({"version": __version__, "python": platform.python_version()})


def _silent_agent(key: str) -> Problem:
    text = (
        "the agent has not been heard for longer than it said; proxy and application keep their traffic, "
        "but nobody asks for the application's health"
    )
    return Problem(
        Severity.WARNING,
        "agent-silent",
        text,
        Origin(f"workload {key}"),
        expected="an agent: the same 'weft run', or 'weft up', started again takes over without a failed request; in a "
        "Pod, the container weft-proxy restarted",
    )


def _service_json(service: Service, found: ServiceAddresses) -> dict[str, object]:
    frontend = service.frontend
    external = frontend.members[0].address if frontend.is_service and frontend.members else ""
    ports = [
        {
            "port": port.number,
            "name": port.name,
            "protocol": str(port.protocol),
            "endpoints": [
                {
                    "workload": one.workload,
                    "address": str(one.address),
                    "health": str(one.health),
                    "identity": str(one.identity or ""),
                    "labels": dict(one.labels),
                    **({"locality": str(one.locality)} if one.locality != NOWHERE else {}),
                }
                for one in (() if external else endpoints)
            ],
        }
        for port, endpoints in service.ports()
    ]
    origin = {"source": frontend.origin.source, "line": frontend.origin.line}
    return {
        "name": frontend.name,
        "namespace": frontend.namespace,
        "host": frontend.host,
        "external_name": external,
        "kind": frontend.key.kind,
        "resolution": str(frontend.resolution),
        "location": str(frontend.location),
        "addresses": list(found.addresses),
        "headless": found.headless,
        "ports": ports,
        "origin": origin,
    }
