"""`weft check` and `weft analyze` through the admin API: facts are gathered here, findings are pure."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from aiohttp import web

from weft import __version__
from weft.admin.context import ApiContext
from weft.admin.explain import Explain
from weft.admin.proxies import every_status
from weft.admin.replies import reply
from weft.admin.routing import Parameter, Route
from weft.admin.status import Status
from weft.explain.ladder import noted_causes
from weft.findings.analysis.analyze import analyze
from weft.findings.analysis.subject import Subject
from weft.findings.checks.check import check
from weft.findings.checks.requests import DENIED
from weft.findings.facts import ControlPlaneFact, EdgeFact, Facts, ProxyFact, RequestFact, WorkloadFact
from weft.findings.finding import finding_from_problem, finding_mapping
from weft.model.origin import origin_from_text
from weft.model.problem import Problem
from weft.model.workload import SocketAddress, Workload, WorkloadState
from weft.sources.contents import owned_keys
from weft.sources.workloads import workload_key
from weft.traffic.edges import Edge, UnknownTrafficError
from weft.traffic.latency import merge_bins, percentile

TRIED_ENVOY = "1.40.0"
_WINDOW_SECONDS = 60.0
_TRIED = 200
"""Addresses that are connected to in one check, so many at a time, and for so long at most."""
_AT_ONCE = 32
_REQUESTS = 1000
_CONNECT_SECONDS = 1.0


class Checking:
    """Handlers of ``/v1/check`` and ``/v1/analysis``. `also` are problems that only the check tells."""

    def __init__(self, context: ApiContext, also: Callable[[], tuple[Problem, ...]] = tuple) -> None:
        self._context = context
        self._also = also
        self._status = Status(context)
        self._explain = Explain(context)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        version = Parameter("version", "the version of weft that asks")
        return (
            Route("GET", "/v1/check", self.check, "What is not well, with the command that mends it", (version,)),
            Route("GET", "/v1/analysis", self.analyze, "Documents in force that do what nobody wants"),
        )

    async def check(self, request: web.Request) -> web.Response:
        """``GET /v1/check``."""
        return reply(await self.told(request.query.get("version", "")[:40]))

    async def told(self, command: str = "") -> dict[str, object]:
        """All findings and what is well, as JSON; `command` is the version of weft that asks."""
        checked = await asyncio.to_thread(check, await self.facts(command))
        return {"findings": [finding_mapping(one) for one in checked.findings], "passed": list(checked.passed)}

    async def analyze(self, _request: web.Request) -> web.Response:
        """``GET /v1/analysis``: the Problems of documents, and the analysis with its notes."""
        subject = self._subject(await self._edges())
        found = await asyncio.to_thread(analyze, subject) if subject is not None else ()
        problems = self._context.compiled.value.problems
        followed = owned_keys(self._context.files)
        told = [finding_from_problem(one, followed) for one in (*self._context.collector.snapshot.problems, *problems)]
        every = sorted({*told, *found}, key=lambda one: one.order)
        return reply({"findings": [finding_mapping(one) for one in every]})

    async def _edges(self) -> tuple[EdgeFact, ...]:
        """The calls of the last minute; none where nobody knows of them now."""
        try:
            window = await self._context.traffic.window(_WINDOW_SECONDS)
        except UnknownTrafficError:
            return ()
        return edge_facts(window.edges)

    async def _requests(self) -> tuple[RequestFact, ...]:
        """Why requests have failed in the last minute, as proxies noted them, by what is still in force."""
        mesh, since = self._context.compiled.value.mesh, self._context.clock() - _WINDOW_SECONDS
        noted = self._context.taps.journal.latest(lambda one: one.seen.time >= since, _REQUESTS)
        if mesh is None or not noted:
            return ()
        facts = await self._explain.facts(mesh)
        keys = {str(key): key for key in facts.documents}
        return tuple(
            RequestFact(
                one.proxy,
                cause.code,
                cause.text,
                count,
                keys.get(cause.object),
                origin_from_text(cause.source),
                one.seen.id,
                one.seen.peer if cause.code == DENIED else "",
            )
            for one, cause, count in noted_causes(facts, noted)
            if not cause.object or cause.object in keys  # the rest is over: its document is gone
        )

    def _subject(self, edges: Iterable[EdgeFact]) -> Subject | None:
        mesh = self._context.compiled.value.mesh
        if mesh is None:
            return None
        workloads = {f"{one.namespace}/{one.name}": one for one in mesh.workloads}
        calls = []
        for edge in edges:
            caller = workloads.get(edge.source)
            namespace, _, name = edge.destination.rpartition("/")
            callee = mesh.catalog.named(name, namespace) if namespace else None
            if caller is not None and callee is not None:
                selecting = mesh.catalog.selecting(caller.namespace, caller.labels)
                calls += [(frontend.host, callee.host) for frontend in selecting]
        return Subject(mesh, self._context.collector.snapshot.documents, tuple(dict.fromkeys(calls)))

    async def facts(self, command: str = "") -> Facts:
        """Everything that the checks look at, now."""
        context = self._context
        snapshot, proxies = context.collector.snapshot, await every_status(context)
        connected = {one.name for one in proxies}
        edges = await self._edges()
        vitals = context.vitals()
        said = [context.heard.of(workload_key(one.namespace, one.name)) for one in snapshot.workloads]
        return Facts(
            now=context.clock(),
            control_plane=ControlPlaneFact(
                __version__,
                vitals.late,
                context.compiled.value.seconds,
                vitals.free,
                vitals.room,
                vitals.root_ends,
                vitals.intermediate_ends,
                vitals.server_ends,
                vitals.own_root,
            ),
            proxies=tuple(
                ProxyFact(
                    one.name,
                    one.revision,
                    one.revision_acked,
                    one.certificate_expires,
                    one.connected,
                    one.envoy,
                    one.stuck,
                )
                for one in proxies
            ),
            workloads=tuple(
                WorkloadFact(one, one.speaker in connected, each.ahead, each.version, each.begins, each.ends)
                for one, each in zip(snapshot.workloads, said, strict=True)
            ),
            problems=(*self._status.found(), *self._also()),
            documents=snapshot.documents,
            followed=owned_keys(context.files),
            subject=self._subject(edges),
            unreachable=await unreachable_workloads(snapshot.workloads),
            edges=edges,
            requests=await self._requests(),
            window=_WINDOW_SECONDS,
            tried_envoy=TRIED_ENVOY,
            command=command,
            revisions=context.revisions,
        )


def edge_facts(edges: Iterable[Edge]) -> tuple[EdgeFact, ...]:
    """Edges of the traffic as the checks look at them: by caller and service, whichever workload answered."""
    found: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.destination), []).append(edge)
    return tuple(_together(source, destination, each) for (source, destination), each in found.items())


def _together(source: str, destination: str, edges: Sequence[Edge]) -> EdgeFact:
    codes: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for edge in edges:
        codes.update(dict(edge.codes))
        flags.update(dict(edge.flags))
    known = {edge.mtls for edge in edges if edge.mtls is not None}
    return EdgeFact(
        source,
        destination,
        sum(edge.requests for edge in edges),
        sum(edge.failures for edge in edges),
        codes,
        flags,
        False not in known if known else None,
        percentile(merge_bins(edge.latency for edge in edges), 0.95),
    )


async def unreachable_workloads(workloads: Iterable[Workload]) -> tuple[tuple[str, str, str], ...]:
    """The workloads that callers are told about and whose address accepts no connection: proxy, address, why. Looks at
    the first `_TRIED` addresses."""
    wanted = [
        (one.proxy, port.inbound)
        for one in workloads
        if one.state is WorkloadState.HEALTHY and one.gateway is None
        for port in one.ports
    ][:_TRIED]
    found = []
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        failures = await asyncio.gather(*(_failure(address) for _, address in part))
        found += [(proxy, str(address), why) for (proxy, address), why in zip(part, failures, strict=True) if why]
    return tuple(found)


async def _failure(address: SocketAddress) -> str:
    """Why nothing accepts there; empty if something does."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except TimeoutError:
        return f"no answer in {_CONNECT_SECONDS:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.transport.abort()
    return ""
