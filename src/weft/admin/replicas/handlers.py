"""What other replicas are answered at the agent API: they prove that they are the control plane of this mesh too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from weft.admin.callers import Caller, RemoteCaller
from weft.admin.confirmation import confirmed_here
from weft.admin.context import ApiContext
from weft.admin.proxies import Proxies
from weft.admin.replicas.links import ROOT
from weft.admin.replicas.rows import Awaited, Confirmed, InForce, Question, Statuses
from weft.admin.replicas.telling import LONGEST_WAIT, Telling
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.server import keep_connection
from weft.model.workload import WorkloadState

_LONGEST_DRAIN = 300.0
Handle = Callable[[web.Request, Caller], Awaitable[web.Response]]


class ReplicaApi:
    """Handlers below ``/v1/replica``."""

    def __init__(self, context: ApiContext, telling: Telling) -> None:
        self._context = context
        self._telling = telling
        self._proxies = Proxies(context)

    def handlers(self) -> tuple[tuple[str, str, Handle], ...]:
        """Method, path and handler of each."""
        return (
            ("GET", f"{ROOT}/rows", self.rows),
            ("GET", f"{ROOT}/proxies", self.proxies),
            ("GET", f"{ROOT}/proxies/{{proxy}}/config/{{type}}", self.config),
            ("POST", f"{ROOT}/drained", self.drained),
            ("GET", f"{ROOT}/revision", self.revision),
            ("POST", f"{ROOT}/confirmed", self.confirmed),
        )

    async def rows(self, request: web.Request, caller: Caller) -> web.Response:
        """What is new here since an earlier page."""
        self._check(request, caller)
        wait = seconds(request, "wait", LONGEST_WAIT) or 0.0
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdecimal() and len(after) < 16):
            raise Refused(400, "bad-parameter", f"after={after[:40]!r}: expected a number")
        return reply(await self._telling.page(request.query.get("boot", ""), int(after), wait))

    async def proxies(self, request: web.Request, caller: Caller) -> web.Response:
        """The streams that are open here."""
        self._check(request, caller)
        return reply(Statuses(self._telling.boot, self._context.hub.proxies()))

    async def config(self, request: web.Request, caller: Caller) -> web.Response:
        """What a proxy is given that is connected here."""
        self._check(request, caller)
        name, word = request.match_info["proxy"], request.match_info["type"]
        found = await self._proxies.given(name, word)
        if found is None:
            raise Refused(404, "not-connected", f"no proxy '{name[:120]}' is connected here")
        return reply(found)

    async def drained(self, request: web.Request, caller: Caller) -> web.Response:
        """Wait until the proxies that are connected here know that a workload takes no new requests."""
        self._check(request, caller)
        question: Question = await json_body(request, Question)
        loop, collector, hub = asyncio.get_running_loop(), self._context.collector, self._context.hub
        end = loop.time() + min(max(question.wait, 0.0), _LONGEST_DRAIN)

        def drains() -> bool:
            now = collector.snapshot.workload(question.proxy)
            return now is None or now.pod != question.pod or now.state is WorkloadState.DRAINING

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while not drains():
                    await collector.collected.changed(collector.collected.version)
        if not drains():
            return reply(Confirmed(False))
        result = await hub.wait_revision(collector.snapshot.revision, max(0.0, end - loop.time()))
        return reply(Confirmed(result.published, (*result.pending, *result.stuck), result.nacked))

    async def revision(self, request: web.Request, caller: Caller) -> web.Response:
        """Which revision is in force here."""
        self._check(request, caller)
        return reply(InForce(self._context.replicas.boot, self._context.compiled.value.revision))

    async def confirmed(self, request: web.Request, caller: Caller) -> web.Response:
        """Wait until something is in force, and the proxies that are connected here have confirmed it."""
        self._check(request, caller)
        awaited: Awaited = await json_body(request, Awaited)
        end = asyncio.get_running_loop().time() + min(max(awaited.wait, 0.0), LONGEST_WAIT)
        return reply(await confirmed_here(self._context, awaited, end))

    def _check(self, request: web.Request, caller: Caller) -> None:
        """Refused unless the caller's certificate is that of a control plane of this mesh, and in force still."""
        if not isinstance(caller, RemoteCaller) or caller.identity is None:
            raise Refused(401, "certificate-required", "show the certificate of a control plane of this mesh")
        if caller.until <= self._context.clock():
            raise Refused(401, "certificate-expired", "connect anew with the certificate of now")
        if str(caller.identity) != self._context.enrolment.xds_identity:
            raise Refused(403, "not-a-replica", "only control planes of this mesh are told what others know")
        keep_connection(request)
