"""The change history through the admin API: the list, one revision, the difference of two, undo."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiohttp import web

from weft.admin.confirmation import LONGEST_WAIT, seen
from weft.admin.context import INTERNAL, ApiContext
from weft.admin.history.comparing import LEFT_OUT, kept_diff, spans
from weft.admin.history.record import ChangedObject, Outcome, Record, Versions, object_row
from weft.admin.history.resources import ResourceGroup, Resources
from weft.admin.history.undoing import Plan, plan_undo, write_undo
from weft.admin.people.calling import who_calls
from weft.admin.people.editing import check_editable
from weft.admin.replies import Refused, flag, instant, reply, seconds
from weft.admin.routing import WAIT, Parameter, Route
from weft.admin.validation import problems_with
from weft.admin.waited import confirmation
from weft.model.document import key_mapping
from weft.model.problem import distinct, problem_mapping
from weft.store.protocol import ConflictError

_LISTED = 50
_ATTEMPTS = 5
_RECORDED_SECONDS = 2.0
_SHOWN = 200
"""Documents of one revision of which the difference is shown."""
_NOT_SHOWN = f"(not shown: there are more than {_SHOWN})\n"
_WAITING = Outcome()


class History:
    """Handlers of ``/v1/history`` and ``/v1/diff``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._shelf = context.history.shelf

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        limit = Parameter("limit", f"the latest so many ({_LISTED})", "integer")
        chosen = (
            limit,
            Parameter("kind", "only those that changed a document of this kind"),
            Parameter("namespace", "only those that changed one in this namespace"),
            Parameter("name", "only those that changed one of this name"),
        )
        span = (
            Parameter("from", "a revision", "integer"),
            Parameter("to", "a revision (the latest)", "integer"),
            Parameter("proxy", "only what this proxy was given"),
        )
        undo = (
            Parameter("dry_run", "1: say what would change, with a diff, and change nothing"),
            Parameter("force", "1: also where an object was changed since"),
            WAIT,
        )
        one = "/v1/history/{revision}"
        return (
            Route("GET", "/v1/history", self.index, "Revisions of the documents, latest first", chosen),
            Route("GET", one, self.get, "One revision: documents and resources before and after"),
            Route("GET", "/v1/diff", self.diff, "What differs between two revisions", span),
            Route("POST", one + "/undo", self.undo, "Apply the documents as they were before a revision", undo),
        )

    async def index(self, request: web.Request) -> web.Response:
        """``GET /v1/history``."""
        wanted = {name: request.query[name].lower() for name in ("kind", "namespace", "name") if name in request.query}
        limit = _number(request.query.get("limit", str(_LISTED)), "limit")
        found = [
            one for one in await self._shelf.records() if not wanted or any(_is(each, wanted) for each in one.objects)
        ]
        return reply({"revisions": [_row(one) for one in found[:limit]]})

    async def get(self, request: web.Request) -> web.Response:
        """``GET /v1/history/{revision}``."""
        record = await self._record(request.match_info["revision"])
        versions = await self._shelf.versions(record)
        outcome = record.outcome or _WAITING
        source = outcome.together_with or record.revision
        resources = await self._shelf.resources(source)
        documents = await asyncio.to_thread(_documents, record, versions)
        proxies = dict(outcome.confirmed)
        return reply({**_row(record), "documents": documents, "proxies": proxies, "resources": _groups(resources, "")})

    async def diff(self, request: web.Request) -> web.Response:
        """``GET /v1/diff``: the documents as they were at one revision and at another, and what proxies got between."""
        records = await self._shelf.records()
        first = await self._record(request.query.get("from", ""), zero=True)
        latest = records[0].revision if records else 0
        last = _number(request.query.get("to", str(latest)), "to")
        start = first.revision
        if last < start:
            raise Refused(400, "bad-parameter", f"from={start}, to={last}: expected the earlier revision first")
        if last > latest:
            raise _unknown(str(last), records)
        between = [one for one in reversed(records) if start < one.revision <= last]
        changes: list[tuple[ChangedObject, Versions]] = []
        groups: list[dict[str, object]] = []
        proxy = request.query.get("proxy", "")
        for one in between:
            changes += zip(one.objects, await self._shelf.versions(one), strict=True)
            found = await self._shelf.resources(one.revision)
            groups += [{"revision": one.revision, **group} for group in _groups(found, proxy)]
        documents = await asyncio.to_thread(_differences, changes, f"revision {start}", f"revision {last}")
        return reply(
            {
                "from": start,
                "to": last,
                "revisions": [_row(one) for one in between],
                "documents": documents,
                "resources": groups,
            }
        )

    async def undo(self, request: web.Request) -> web.Response:
        """``POST /v1/history/{revision}/undo``: answers as applying documents does."""
        wait = seconds(request, "wait", LONGEST_WAIT)
        force, dry_run = flag(request, "force"), flag(request, "dry_run")
        record = await self._record(request.match_info["revision"])
        check_editable(self._context, request, (one.key for one in record.objects), undoing=True)
        for _ in range(_ATTEMPTS):
            plan = await plan_undo(self._context, record, force=force)
            if dry_run:
                return await self._undone(plan, None, None, dry_run=True)
            try:
                revision = await write_undo(self._context, who_calls(request), record, plan)
            except ConflictError:
                continue
            await seen(self._context, revision)
            return await self._undone(plan, revision, wait, dry_run=False)
        raise Refused(409, "conflict", "these documents keep being changed by others at the same time: try again")

    async def _undone(self, plan: Plan, written: int | None, wait: float | None, *, dry_run: bool) -> web.Response:
        """The answer; `written` is the store's revision. `revision` is that of the history which this has become."""
        waiting = written is not None and wait is not None
        keys = {one.about.key for one in plan.undone}
        confirmed = await confirmation(self._context, written or 0, wait or 0.0, keys) if waiting else None
        meaning = self._context.compiled.value.problems
        if dry_run:
            meaning = await problems_with(self._context, (one.then for one in plan.undone if one.then is not None))
        problems = distinct(one for one in meaning if one.object in keys or one.code == INTERNAL)
        return reply(
            {
                "revision": None
                if written is None
                else await self._context.history.recorded(written, _RECORDED_SECONDS),
                "documents": [
                    {"key": key_mapping(one.about.key), "change": one.change, "diff": one.diff} for one in plan.undone
                ],
                "left": [{"key": key_mapping(one.key), "reason": reason} for one, reason in plan.left],
                "problems": [problem_mapping(problem) for problem in problems],
                "wait": confirmed,
            }
        )

    async def _record(self, text: str, *, zero: bool = False) -> Record:
        """A revision by its number; with `zero`, what was before the first one that is kept, too."""
        number = _number(text, "revision")
        found = await self._shelf.record(number)
        if found is not None:
            return found
        records = await self._shelf.records()
        if zero and number == (records[-1].revision - 1 if records else 0):
            return Record(number, 0.0, "", "", (), 0)
        raise _unknown(text, records)


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(400, "bad-parameter", f"{name}={text[:40]!r}: expected a number; see GET /v1/history")
    return int(text)


def _unknown(text: str, records: Sequence[Record]) -> Refused:
    kept = f"revisions {records[-1].revision} to {records[0].revision} are kept" if records else "the history is empty"
    return Refused(404, "unknown-revision", f"there is no revision {text[:40]}; {kept}")


def _is(one: ChangedObject, wanted: dict[str, str]) -> bool:
    return all(str(getattr(one, name)).lower() == value for name, value in wanted.items())


def _row(record: Record) -> dict[str, object]:
    """A revision as it is listed."""
    outcome = record.outcome or _WAITING
    return {
        "revision": record.revision,
        "time": instant(record.time),
        "who": record.who,
        "action": record.action,
        "objects": [object_row(one) for one in record.objects],
        "object_count": record.object_count,
        "store_revision": record.store_revision or None,
        "changed_proxies": outcome.changed,
        "confirmed": outcome.confirmed_count,
        "confirmed_ms": outcome.last_ms,
        "median_ms": outcome.median_ms,
        "pending": list(outcome.pending),
        "refused": list(outcome.refused),
        "stuck": list(outcome.stuck),
        "final": outcome.final,
        "together_with": outcome.together_with or None,
    }


def _documents(record: Record, versions: Sequence[Versions]) -> list[dict[str, object]]:
    """Every object of a revision, the first with their diffs. YAML is slow: not for the event loop."""
    pairs = list(zip(record.objects, versions, strict=True))
    rest = [{**object_row(one), "diff": _NOT_SHOWN} for one, _ in pairs[_SHOWN:]]
    return [*(_document(one, each) for one, each in pairs[:_SHOWN]), *rest]


def _differences(changes: Iterable[tuple[ChangedObject, Versions]], before: str, after: str) -> list[dict[str, object]]:
    """What differs over a span of revisions, object by object. Not for the event loop."""
    return [
        {"key": key_mapping(span.last.key), "change": span.change, "diff": span.diff(before, after)}
        for span in spans(changes)
    ]


def _document(one: ChangedObject, versions: Versions) -> dict[str, object]:
    place = f"{one.source}:{one.line}" if one.line else one.source or "after"
    diff = LEFT_OUT if versions.left_out else kept_diff(versions.before, versions.after, "before", place)
    return {**object_row(one), "diff": diff}


def _groups(resources: Resources | None, proxy: str) -> list[dict[str, object]]:
    return [_group(one) for one in _chosen(resources.groups if resources else (), proxy)]


def _chosen(groups: Iterable[ResourceGroup], proxy: str) -> Iterable[ResourceGroup]:
    """Those of one proxy, named with or without its namespace."""
    for group in groups:
        if not proxy or any(proxy in (name, name.partition(".")[0]) for name in group.proxies):
            yield group


def _group(group: ResourceGroup) -> dict[str, object]:
    return {
        "proxies": list(group.proxies),
        "proxy_count": group.proxy_count,
        "counts": group.counts,
        "changes": [
            {"type": one.type, "name": one.name, "change": one.change, "diff": one.diff} for one in group.changes
        ],
    }
