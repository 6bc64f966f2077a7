"""Identities through the admin API: who has certificates, and the end of trust in them: revoke, restore, remove."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from aiohttp import web

from weft.admin.confirmation import LONGEST_WAIT, seen
from weft.admin.context import ApiContext
from weft.admin.identity_rows import IdentityRow, identity_rows
from weft.admin.people.calling import who_calls
from weft.admin.replies import Refused, instant, json_body, reply, seconds
from weft.admin.routing import Parameter, Route
from weft.admin.waited import confirmation
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE, DEFAULT_TTL
from weft.ca.issued import Certificate, list_certificates
from weft.model.distrust import Distrust, Ended, Whose, distrust_key
from weft.model.identity import is_dns_label
from weft.model.printable import printable
from weft.model.workload import Workload
from weft.schema.wording import nearest_name
from weft.sources.distrust import DISTRUST_BUCKET, distrust_from_value, put_distrust
from weft.sources.workloads import workload_from_value
from weft.store.protocol import LEASED_BUCKET, Change, ConflictError, Delete

_WAIT = Parameter("wait", "seconds to wait for the proxies' confirmation")
_MOST = 1000
"""Ends of trust that are kept at once: each is looked at by every inbound port."""
_LONGEST_REASON = 200
_TRIES = 5


class EndRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/identities/revoke`` and ``restore``: one workload, or one service account."""

    namespace: str
    workload: str = ""
    service_account: str = ""
    reason: str = ""

    @property
    def whose(self) -> Whose:
        """Which of both."""
        return "workload" if self.workload else "service-account"

    @property
    def name(self) -> str:
        """Its name."""
        return self.workload or self.service_account


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What the store has about identities, read together before a change."""

    ends: Mapping[str, tuple[Distrust, int]]
    workloads: Mapping[str, tuple[Workload, int]]
    certificates: Mapping[str, tuple[Certificate, ...]]

    def concerned(self, body: EndRequest) -> dict[str, int]:
        """The registrations that a request means, with their revisions."""
        return {
            key: revision
            for key, (one, revision) in self.workloads.items()
            if one.namespace == body.namespace and body.name == (one.name if body.workload else one.service_account)
        }

    def names(self, body: EndRequest) -> set[str]:
        """The workloads or service accounts of the namespace that ever had a certificate that has not expired."""
        found = {(one.namespace, one.name, one.service_account) for one, _ in self.workloads.values()}
        for key, certificates in self.certificates.items():
            namespace, _, name = key.partition("/")
            found |= {(namespace, name, one.service_account) for one in certificates}
        return {name if body.workload else account for space, name, account in found if space == body.namespace}


class Identities:
    """Handlers of identities."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        body = "JSON: namespace, workload or service_account, reason"
        one = "/v1/workloads/{namespace}/{name}"
        return (
            Route("GET", "/v1/identities", self.rows, "Every identity: its workloads, certificates and state"),
            Route("POST", "/v1/identities/revoke", self.revoke, "Refuse an identity at once", (_WAIT,), body=body),
            Route(
                "POST", "/v1/identities/restore", self.restore, "Let a revoked identity come back", (_WAIT,), body=body
            ),
            Route("DELETE", one, self.remove, "Remove a workload, and trust in its certificates", (_WAIT,)),
        )

    async def rows(self, _request: web.Request) -> web.Response:
        """``GET /v1/identities``."""
        context = self._context
        certificates = await list_certificates(context.store)
        snapshot = context.collector.snapshot
        trust_domain, now = context.authority.trust_domain, context.clock()
        rows = identity_rows(trust_domain, snapshot.workloads, certificates, snapshot.distrusted, now)
        return reply({"identities": [_row_json(row) for row in rows]})

    async def revoke(self, request: web.Request) -> web.Response:
        """``POST /v1/identities/revoke``."""
        return await self._end(request, await _body(request), Ended.REVOKED, "revoke identity")

    async def restore(self, request: web.Request) -> web.Response:
        """``POST /v1/identities/restore``."""
        return await self._end(request, await _body(request), Ended.RESTORED, "restore identity")

    async def remove(self, request: web.Request) -> web.Response:
        """``DELETE /v1/workloads/{namespace}/{name}``."""
        body = EndRequest(request.match_info["namespace"], workload=request.match_info["name"])
        return await self._end(request, body, Ended.REMOVED, "remove workload")

    async def _end(self, request: web.Request, body: EndRequest, ended: Ended, action: str) -> web.Response:
        wait = seconds(request, "wait", LONGEST_WAIT)
        context, who = self._context, who_calls(request)
        for _ in range(_TRIES):
            known = await self._known()
            before = known.ends.get(distrust_key(body.whose, body.namespace, body.name))
            after = self._next(known, body, ended, who)
            concerned = {} if ended is Ended.RESTORED else known.concerned(body)
            if before is not None and before[0] == after and not concerned:
                return reply({"identity": _end_json(after), "changed": False, "workloads": [], "wait": None})
            changes: list[Change] = [put_distrust(after), *(Delete(LEASED_BUCKET, key) for key in concerned)]
            changes += [Delete(DISTRUST_BUCKET, key) for key in self._over(known, after)]
            changes.append(context.audit.done(who, action, object=str(after), detail=after.reason))
            expect = {(LEASED_BUCKET, key): revision for key, revision in concerned.items()}
            expect[DISTRUST_BUCKET, after.key] = before[1] if before else 0
            try:
                revision = await context.store.write(changes, expect)
            except ConflictError:
                continue
            return await self._answer(after, tuple(concerned), revision, wait)
        raise Refused(409, "conflict", f"{body.namespace}/{body.name} keeps being changed at the same time: try again")

    async def _answer(
        self, after: Distrust, workloads: tuple[str, ...], revision: int, wait: float | None
    ) -> web.Response:
        context = self._context
        for key in workloads:
            context.leases.forget(key)
            context.heard.forget(key)
        await seen(context, revision)
        waited = await confirmation(context, revision, wait) if wait is not None else None
        answer = {"identity": _end_json(after), "changed": True, "workloads": sorted(workloads), "wait": waited}
        return reply(answer)

    async def _known(self) -> _Known:
        store = self._context.store
        _, ends = await store.list(DISTRUST_BUCKET)
        _, workloads = await store.list(LEASED_BUCKET)
        return _Known(
            {one.key: (distrust_from_value(one.value), one.revision) for one in ends},
            {one.key: (workload_from_value(one.value), one.revision) for one in workloads},
            await list_certificates(store),
        )

    def _next(self, known: _Known, body: EndRequest, ended: Ended, who: str) -> Distrust:
        """The end of trust as it is to be; what is so already stays as it is. Refused if there is nothing to end."""
        before, _ = known.ends.get(distrust_key(body.whose, body.namespace, body.name), (None, 0))
        now = self._context.clock()
        until = now + DEFAULT_TTL
        if ended is Ended.RESTORED:
            if before is None or before.ended is not Ended.REVOKED:
                raise Refused(404, "not-revoked", f"{_what(body)} is not revoked; weft identity list shows what is")
            return dataclasses.replace(before, ended=ended, time=now, until=until, who=who, reason=body.reason)
        if before is not None and before.ended is Ended.REVOKED:
            return before
        names = known.names(body)
        if body.name not in names:
            nearest = nearest_name(body.name, names)
            hint = f"; did you mean '{nearest}'?" if nearest else ""
            raise Refused(404, "no-such-identity", f"{_what(body)} has no certificate{hint} See weft identity list")
        if before is None and len(known.ends) >= _MOST:
            raise Refused(409, "too-many-revoked", f"{_MOST} identities are revoked already: restore some")
        number = max(int(now), before.number + 1 if before else 1)
        return Distrust(body.whose, body.namespace, body.name, ended, number, now, until, who, body.reason)

    def _over(self, known: _Known, but: Distrust) -> list[str]:
        """Ends of trust that no certificate can meet any more. They go with the next one, since every change of them
        makes inbound ports end connections."""
        now = self._context.clock()
        over = (one for one, _ in known.ends.values() if one.ended is not Ended.REVOKED and one.until < now)
        return [one.key for one in over if one.key != but.key]


async def _body(request: web.Request) -> EndRequest:
    body: EndRequest = await json_body(request, EndRequest)
    if bool(body.workload) == bool(body.service_account):
        raise Refused(400, "bad-parameter", "give a workload or a service_account, and not both")
    for member in ("namespace", "name"):
        if not is_dns_label(getattr(body, member)):
            raise Refused(400, "bad-parameter", f"{getattr(body, member)[:80]!r} is no name of the mesh")
    if (body.namespace, body.service_account) == (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT):
        raise Refused(403, "reserved-identity", "this identity is the control plane's own")
    return msgspec.structs.replace(body, reason=printable(body.reason, _LONGEST_REASON))


def _what(body: EndRequest) -> str:
    return f"{body.whose.replace('-', ' ')} {body.namespace}/{body.name}"


def _end_json(one: Distrust) -> dict[str, Any]:
    kind: Literal["workload", "service_account"] = "workload" if one.whose == "workload" else "service_account"
    return {
        "namespace": one.namespace,
        kind: one.name,
        "state": str(one.ended),
        "since": instant(one.time),
        "by": one.who,
        "reason": one.reason,
    }


def _row_json(row: IdentityRow) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(row, name) for name in row.__dataclass_fields__}
    moments = {name: instant(found[name]) if found[name] else None for name in ("issued", "until", "since")}
    return {**found, **moments}
