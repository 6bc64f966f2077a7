"""Principals through the admin API: who I am, who there is, make one, revoke one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.people.access import ROLE_PERMISSIONS, ROLES, Permission, Role
from weft.admin.people.calling import principal_of, who_calls
from weft.admin.people.editing import root_namespaces
from weft.admin.people.principals import (
    DEFAULT_LIFE,
    People,
    PrincipalError,
    Record,
    UnknownPrincipalError,
    Wanted,
)
from weft.admin.replies import Refused, instant, json_body, reply
from weft.admin.routing import Route
from weft.schema.wording import nearest_name
from weft.store.protocol import Change


class PrincipalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/principals``. `ttl` in seconds; 0, with a `certificate`: as long as that is good."""

    name: str
    role: str
    namespaces: tuple[str, ...] = ()
    ttl: float = DEFAULT_LIFE
    certificate: str = ""


class Principals:
    """Handlers of ``/v1/principals`` and ``/v1/self``."""

    def __init__(self, context: ApiContext, people: People) -> None:
        self._context = context
        self._people = people

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        body = "JSON: name, role (viewer, editor, operator, admin), namespaces (of an editor), ttl, certificate"
        return (
            Route("GET", "/v1/self", self.whoami, "Who is calling, and what they may do"),
            Route("GET", "/v1/principals", self.list, "Principals: what each may do, and when it last called"),
            Route("POST", "/v1/principals", self.create, "Make a principal; only the answer has its token", body=body),
            Route("DELETE", "/v1/principals/{name}", self.revoke, "Revoke a principal at once"),
        )

    async def whoami(self, request: web.Request) -> web.Response:
        """``GET /v1/self``."""
        principal = principal_of(request)
        allowed = [str(one) for one in Permission if one is not Permission.PUBLIC and principal.may(one)]
        return reply(
            {
                "name": principal.name,
                "proof": principal.proof,
                "roles": [{"role": str(one.role), "namespaces": list(one.namespaces)} for one in principal.grants],
                "permissions": allowed,
                "expires": instant(principal.until) if principal.until else None,
            }
        )

    async def list(self, _request: web.Request) -> web.Response:
        """``GET /v1/principals``."""
        now = self._context.clock()
        rows = [{**_row(*one), "ends_soon": one[0].ends_soon(now)} for one in self._people.all()]
        return reply({"principals": rows})

    async def create(self, request: web.Request) -> web.Response:
        """``POST /v1/principals``: the token is in the answer and nowhere else."""
        body: PrincipalRequest = await json_body(request, PrincipalRequest)
        if body.role not in ROLES:
            near = nearest_name(body.role, ROLES)
            hint = f"; did you mean '{near}'?" if near else ""
            raise Refused(400, "bad-parameter", f"there is no role '{body.role[:40]}'; roles: {', '.join(ROLES)}{hint}")
        if roots := sorted(root_namespaces(self._context) & set(body.namespaces)):
            text = f"documents of namespace {roots[0]} concern the whole mesh: they are for --role admin"
            raise Refused(400, "bad-parameter", text)
        wanted = Wanted(body.name, Role(body.role), body.namespaces, body.ttl, body.certificate)
        who = who_calls(request)

        def also(record: Record) -> Sequence[Change]:
            return [self._context.audit.done(who, "create principal", object=record.name, detail=said(record))]

        try:
            made = await self._people.create(wanted, who, also)
        except PrincipalError as error:
            raise Refused(400, "bad-parameter", str(error)) from error
        return reply({"token": made.token or None, "principal": _row(made.record, "valid", 0.0)}, 201)

    async def revoke(self, request: web.Request) -> web.Response:
        """``DELETE /v1/principals/{name}``."""
        who = who_calls(request)

        def also(record: Record) -> Sequence[Change]:
            detail = f"it was: {said(record)}"
            return [self._context.audit.done(who, "revoke principal", object=record.name, detail=detail)]

        try:
            record = await self._people.revoke(request.match_info["name"], also)
        except UnknownPrincipalError as error:
            raise Refused(404, "no-such-principal", str(error)) from error
        return reply({"revoked": _row(record, "revoked", 0.0)})


def said(record: Record) -> str:
    """A principal in words, for the audit."""
    until = f", until {instant(record.expires)}" if record.expires else ""
    by = f"certificate {record.certificate}" if record.certificate else "token"
    return f"{record.principal.roles}, by {by}{until}"


def _row(record: Record, state: str, used: float) -> dict[str, object]:
    """A principal as it is listed; null for what never happened."""
    return {
        "name": record.name,
        "role": str(record.role),
        "namespaces": list(record.namespaces),
        "permissions": sorted(str(one) for one in ROLE_PERMISSIONS[record.role] if one is not Permission.PUBLIC),
        "certificate": record.certificate or None,
        "state": state,
        "created": instant(record.created),
        "created_by": record.creator,
        "expires": instant(record.expires) if record.expires else None,
        "revoked": instant(record.revoked) if record.revoked else None,
        "last_used": instant(used) if used else None,
    }
