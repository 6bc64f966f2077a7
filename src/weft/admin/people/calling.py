"""Who sends a request that was let in: noted by the guard, read by handlers."""

from __future__ import annotations

from aiohttp import web

from weft.admin.people.access import ADMIN, Principal

DASHBOARD = "dashboard"
_PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
_PAGE: web.RequestKey[bool] = web.RequestKey("page", bool)


def note_caller(request: web.Request, principal: Principal, *, page: bool = False) -> None:
    """The guard has found out who this is; `page`: it is the dashboard in a browser that was signed in for them."""
    request[_PRINCIPAL], request[_PAGE] = principal, page


def principal_of(request: web.Request) -> Principal:
    """Who calls; where no guard stands before a handler, the admin."""
    found: Principal = request.get(_PRINCIPAL, ADMIN)
    return found


def user_of(request: web.Request) -> str:
    """The user of a cluster who sent a request, also one that was refused then; empty: it was somebody else. Their
    address would say nothing: that of a tunnel's end."""
    found: Principal | None = request.get(_PRINCIPAL)
    return found.name if found is not None and found.user is not None else ""


def from_page(request: web.Request) -> bool:
    """Whether the dashboard's page calls."""
    return bool(request.get(_PAGE, False))


def who_calls(request: web.Request) -> str:
    """Who calls, as the audit and the history name it."""
    return who_is(principal_of(request), page=from_page(request))


def who_is(principal: Principal, *, page: bool) -> str:
    """A principal as the audit names it."""
    if not page:
        return principal.name
    return DASHBOARD if principal.proof == "bootstrap" else f"{principal.name} ({DASHBOARD})"
