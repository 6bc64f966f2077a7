"""Names through the agent API: what a workload's applications may look up, told when it changes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from weft.admin.callers import Caller
from weft.admin.context import ApiContext
from weft.admin.registered import Own
from weft.admin.replies import Refused, reply, seconds
from weft.model.names import NamesAnswer

LONGEST_WAIT = 60.0
WAITING_AT_ONCE = 256
"""Who waits holds a connection of the agent API, which has others to serve: beyond that agents come again and again."""
AGAIN_SECONDS = 5.0
_LOOK_SECONDS = 0.5
"""For a proxy that connects while nothing is published: it has names from then on."""


class Names:
    """The handler. `own` finds the registration that a caller may act for. The names are those of the view that the
    workload's proxy was given last, so both know the same services."""

    def __init__(self, context: ApiContext, own: Own) -> None:
        self._hub = context.hub
        self._own = own
        self._waiting = 0

    async def names(self, request: web.Request, caller: Caller) -> web.Response:
        """``GET /v1/workloads/{namespace}/{name}/names``; see NamesAnswer."""
        wait = min(seconds(request, "wait", LONGEST_WAIT) or 0.0, LONGEST_WAIT)
        known = request.query.get("version", "")
        registered = await self._own(request, caller)
        workload = registered.workload
        if not workload.dns:
            text = "this workload is run without --dns, so no names are made"
            raise Refused(409, "no-names", text, about=registered.key)
        again = 0.0
        if self._waiting >= WAITING_AT_ONCE:
            wait, again = 0.0, AGAIN_SECONDS
        found = self._hub.names_of(workload.proxy)
        self._waiting += 1
        try:
            async with asyncio.timeout(wait):
                while found is None or found.version == known:
                    await self._hub.next_publication(_LOOK_SECONDS if found is None else LONGEST_WAIT)
                    found = self._hub.names_of(workload.proxy)
        except TimeoutError:
            return reply(NamesAnswer(known, again=again))
        finally:
            self._waiting -= 1
        return web.Response(body=found.body, content_type="application/json")
