"""The audit through the admin API: its events, and whether they are as they were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from aiohttp import web

from weft.admin.audit import Recorded
from weft.admin.audit_chain import AuditChain
from weft.admin.context import ApiContext
from weft.admin.replies import Refused, instant, reply
from weft.admin.routing import Parameter, Route

_MOST = 6000
_CHOSEN = (
    Parameter("who", "only of those whose name has this in it"),
    Parameter("what", "only where action or object have this in them"),
    Parameter("outcome", "only done, or refused"),
    Parameter("since", "only from this time on (RFC 3339)"),
    Parameter("until", "only before this time (RFC 3339)"),
    Parameter("limit", "the latest so many", "integer"),
)


class Events:
    """Handlers of ``/v1/events`` and ``/v1/audit``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._chain = context.chain or AuditChain(context.store, context.audit, context.clock)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (
            Route("GET", "/v1/events", self.index, "The audit: who did what, what was refused; latest first", _CHOSEN),
            Route("GET", "/v1/audit/chain", self.verify, "Whether the audit is as it was recorded, as its chain tells"),
        )

    async def index(self, request: web.Request) -> web.Response:
        """``GET /v1/events``. `revision` is that of the history, where a change of documents is one."""
        query = request.query
        since, until = _moment(query.get("since"), "since"), _moment(query.get("until"), "until")
        limit = _limit(query.get("limit"))
        found = [
            one
            for one in await self._context.audit.recorded()
            if _fits(one, query)
            and (since is None or one.event.time >= since)
            and (until is None or one.event.time < until)
        ][:limit]
        records = await self._context.history.shelf.records()
        revisions = {one.store_revision: one.revision for one in records if one.store_revision}
        return reply({"events": [_row(one, revisions) for one in found]})

    async def verify(self, _request: web.Request) -> web.Response:
        """``GET /v1/audit/chain``."""
        found = await self._chain.verify()
        return reply(
            {
                "intact": not found.findings,
                "findings": list(found.findings),
                "head": {
                    "number": found.head,
                    "hash": found.hash,
                    "time": instant(found.time) if found.head else None,
                },
                "first": found.first,
                "covered": found.covered,
                "forgotten": found.forgotten,
                "not_covered_yet": found.fresh,
            }
        )


def _fits(one: Recorded, query: Mapping[str, str]) -> bool:
    event = one.event
    who, what, outcome = (query.get(name, "").lower() for name in ("who", "what", "outcome"))
    return (
        who in event.who.lower()
        and what in f"{event.action} {event.object}".lower()
        and outcome in ("", event.outcome.lower())
    )


def _row(one: Recorded, revisions: Mapping[int, int]) -> dict[str, object]:
    row = msgspec.structs.asdict(one.event) | {"time": instant(one.event.time)}
    return row | {"id": one.id, "revision": revisions.get(one.revision)}


def _moment(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        text = f"{name}={text[:40]!r}: expected a time with its zone, such as 2026-11-26T19:00:00Z"
        raise Refused(400, "bad-parameter", text)
    return found.timestamp()


def _limit(text: str | None) -> int:
    if text is None:
        return _MOST
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= _MOST:
        raise Refused(400, "bad-parameter", f"limit={text[:40]!r}: expected a number up to {_MOST}")
    return int(text)
