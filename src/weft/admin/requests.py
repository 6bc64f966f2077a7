"""Requests through the admin API: those that failed, one of them explained, and a live tap."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.explain import Explain, find_workload
from weft.admin.people.calling import who_calls
from weft.admin.replies import Refused, flag, instant, reply, seconds
from weft.admin.routing import Parameter, Route
from weft.admin.taps import LONGEST_SECONDS, MOST_RATE, Tap, TooManyTapsError
from weft.explain.flags import meaning
from weft.explain.journal import Noted
from weft.explain.ladder import explain_requests
from weft.explain.order import ladder_of
from weft.mesh.model import Mesh
from weft.model.printable import printable
from weft.model.requests import TapFilter
from weft.schema.wording import nearest_name
from weft.store.protocol import StoreError

_LIMIT = 500
_TAP_LIMIT = 100_000
_HEARTBEAT = 2.0
_WORKLOAD = Parameter("workload", "NAME, or NAMESPACE/NAME")
_ID = Parameter("id", "the request id (x-request-id)")
_TRACE = Parameter("trace", "the trace id of a W3C traceparent")


class Requests:
    """Handlers of ``/v1/requests`` and ``/v1/tap``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._explain = Explain(context)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        limit = Parameter("limit", "how many at most", "integer")
        failed = Parameter("failed", "1: without those that were only slow")
        wanted = tuple(
            Parameter(name, text)
            for name, text in (
                ("method", "only this method"),
                ("path", "only paths that begin so"),
                ("status", "only this status, or class of it (5xx)"),
                ("header", "only requests that have a header of this name"),
            )
        )
        rate = Parameter("rate", f"requests per second at most, up to {MOST_RATE}", "integer")
        for_ = Parameter("seconds", f"for how long, up to {LONGEST_SECONDS:g}", "number")
        return (
            Route(
                "GET",
                "/v1/requests",
                self.list,
                "The latest requests that failed or were slow",
                (_WORKLOAD, failed, _ID, _TRACE, limit),
            ),
            Route("GET", "/v1/requests/explain", self.explain, "Why a request failed, hop by hop", (_ID, _TRACE)),
            Route(
                "GET",
                "/v1/tap",
                self.tap,
                "Requests of a workload as they happen, as lines of JSON",
                (_WORKLOAD, *wanted, rate, for_, limit),
            ),
        )

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/requests``: the latest first."""
        only_failed, text = flag(request, "failed"), request.query.get("workload", "")
        workloads = (self._workload(text),) if text else None
        name, trace = request.query.get("id", ""), request.query.get("trace", "")

        def wanted(noted: Noted) -> bool:
            seen = noted.seen
            if (name and seen.id != name) or (trace and seen.trace != trace.lower()):
                return False
            return seen.failed or not only_failed

        journal = self._context.taps.journal
        found = journal.latest(wanted, _limit(request, _LIMIT, 50), workloads)
        return reply({"requests": [request_json(one) for one in found], "left_out": journal.left_out})

    async def explain(self, request: web.Request) -> web.Response:
        """``GET /v1/requests/explain``."""
        name, trace = request.query.get("id", ""), request.query.get("trace", "").lower()
        if not name and not trace:
            raise Refused(400, "bad-parameter", "expected id=REQUEST_ID or trace=TRACE_ID")
        mesh = self._context.compiled.value.mesh
        if mesh is None:
            raise Refused(503, "not-built", "no mesh is in force yet; see weft problems")
        journal = self._context.taps.journal
        found = journal.latest(lambda one: name in ("", one.seen.id) and trace in ("", one.seen.trace), _LIMIT)
        if not found:
            what = f"request '{name[:64]}'" if name else f"trace '{trace[:64]}'"
            text = (
                f"no proxy has noted {what} as failed or slow, or it was long ago; weft requests lists those that are"
            )
            raise Refused(404, "unknown-request", text)
        facts = await self._explain.facts(mesh)
        explained = await asyncio.to_thread(explain_requests, facts, found, instant)
        return reply(replace(explained, worked_until=await self._worked(mesh, found)))

    async def _worked(self, mesh: Mesh, found: tuple[Noted, ...]) -> str:
        """When the call that failed last succeeded: that of the first caller."""
        for noted in ladder_of(found).steps:
            frontend = mesh.catalog.find(noted.seen.host.partition(":")[0], noted.workload.partition("/")[0])
            if noted.seen.side != "inbound" and noted.seen.failed and frontend is not None:
                return await self._explain.worked(noted.workload, f"{frontend.namespace}/{frontend.name}")
        return ""

    async def tap(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/tap``: one JSON object per line, until the time or the number is over, or the client goes."""
        query = request.query
        workload = self._workload(query.get("workload", ""))
        names = ("method", "path", "status", "header")
        wanted = TapFilter(**{name: query.get(name, "")[:200] for name in names})
        limit, rate = _limit(request, _TAP_LIMIT, _TAP_LIMIT), _number(request, "rate", MOST_RATE, 20)
        taps = self._context.taps
        try:
            tap = taps.open(workload, wanted, rate, seconds(request, "seconds", LONGEST_SECONDS) or 60.0)
        except TooManyTapsError as error:
            raise Refused(429, "busy", "too many people watch at once") from error
        what = ", ".join(f"{name} {query[name][:40]}" for name in names if query.get(name))
        await self._record(request, "begin tap", workload, what)
        try:
            return await self._stream(request, tap, limit)
        finally:
            taps.close(tap)
            await self._record(request, "end tap", workload, what)

    async def _record(self, request: web.Request, action: str, workload: str, what: str) -> None:
        """In the audit; while the store is away people may watch all the same."""
        with contextlib.suppress(StoreError):
            detail = printable(what, 200)
            event = self._context.audit.done(who_calls(request), action, object=f"workload {workload}", detail=detail)
            await self._context.store.write([event])

    async def _stream(self, request: web.Request, tap: Tap, limit: int) -> web.StreamResponse:
        headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        sent, told = 0, 0
        while sent < limit and not self._context.taps.expired(tap):
            lines = []
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    lines.append(request_json(await tap.queue.get()))
                while len(lines) < limit - sent and not tap.queue.empty():
                    lines.append(request_json(tap.queue.get_nowait()))
            except TimeoutError:
                pass
            sent += len(lines)
            if not lines or tap.lost > told:
                told = tap.lost
                lines.append({"left_out": told})  # also shows that somebody still listens
            await response.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        await response.write_eof()
        return response

    def _workload(self, text: str) -> str:
        """``NAMESPACE/NAME`` of a registered workload, or of one that the journal still knows."""
        mesh = self._context.compiled.value.mesh
        workloads = self._context.collector.snapshot.workloads
        found = find_workload(mesh, text, "default") if mesh is not None else None
        if found is not None:
            return f"{found.namespace}/{found.name}"
        near = nearest_name(text, [one.name for one in workloads])
        hint = f"; did you mean '{near}'?" if near else "; see weft get workloads"
        raise Refused(404, "unknown-workload", f"no workload '{text[:120]}' is registered{hint}")


def request_json(noted: Noted) -> dict[str, Any]:
    """A request as the API shows it."""
    seen = noted.seen
    row: dict[str, Any] = {name: getattr(seen, name) for name in seen.__dataclass_fields__}
    row["time"] = instant(seen.time)
    row["headers"] = dict(seen.headers)
    return {"workload": noted.workload, **row, "failed": seen.failed, "meaning": meaning(seen)}


def _limit(request: web.Request, most: int, usual: int) -> int:
    return _number(request, "limit", most, usual)


def _number(request: web.Request, name: str, most: int, usual: int) -> int:
    text = request.query.get(name)
    if text is None:
        return usual
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise Refused(400, "bad-parameter", f"{name}={text[:40]!r}: expected a number from 1 to {most}")
    return int(text)
