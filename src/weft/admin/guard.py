"""The admin API's guard: for hosts that it is meant for, only who has proven who they are, and only what they may."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from weft.admin.audit import Audit
from weft.admin.dashboard.sessions import Session, Sessions, shows_key
from weft.admin.people.access import Principal
from weft.admin.people.calling import note_caller, user_of
from weft.admin.people.gate import Gate, is_secure
from weft.admin.replies import Handler, Refused, instant
from weft.admin.server import mark_authenticated
from weft.settings.endpoints import TOKEN_ENDS
from weft.settings.private import check_private, write_atomically

KEY_HEADER = "X-Weft-Key"
PAGE_WRITES = ("/v1/explain", "/v1/history/", "/v1/session")
"""Where a page may send anything: what it asks, what it undoes, its own end. Documents and tokens are not for it."""
_TOKEN = re.compile(r"weft[_-][\w-]{20,}")
"""Tokens of ours that somebody puts into a path by mistake."""
_READS = frozenset({"GET", "HEAD"})
_TUNNELLED: web.RequestKey[bool] = web.RequestKey("tunnelled", bool)


def token_in(path: Path) -> str:
    """The token in `path`, made (0600) on first start. PermissionsError if others could read it."""
    if path.exists():
        check_private(path)
        if token := path.read_text().strip():
            return token
    token = secrets.token_urlsafe(32)
    write_atomically(path, token + "\n")
    return token


def cookie_name(request: web.Request) -> str:
    """The name of the session's cookie: cookies do not know ports, and a host may have several control planes."""
    if request.get(_TUNNELLED, False):  # the port of the tunnel's end
        return f"weft-session-{request.headers.get('Host', '').rpartition(':')[2]}"
    place = request.transport.get_extra_info("sockname") if request.transport else None
    return f"weft-session-{place[1]}" if isinstance(place, tuple) else "weft-session"


def scheme_of(request: web.Request) -> str:
    """How a browser reaches this API: over TLS, or on a loopback, where a tunnel may begin that leads here over TLS."""
    return "https" if is_secure(request) and not request.get(_TUNNELLED, False) else "http"


def new_guard(gate: Gate, audit: Audit, sessions: Sessions, is_public: Callable[[str], bool]) -> Middleware:
    """A middleware that refuses, and records, what is not allowed to call. Paths that `is_public` need no proof."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not (is_secure(request) and gate.is_named(request.headers.get("Host", ""))):
                check_host(request, over_tls=is_secure(request) and not gate.has_tunnels)
                request[_TUNNELLED] = is_secure(request)
            principal = await _admit(request, gate, sessions, public=is_public(request.path))
        except Refused as refused:
            if not refused.detail.pop("unrecorded", False):
                path = _TOKEN.sub("(token)", request.path)
                who, action = user_of(request) or request.remote or "local", f"admin {request.method} {path}"
                audit.refused(who, action, refused.code, refused.record or str(refused))
            raise
        response = await handler(request)
        if principal is not None and not response.prepared and (ends := gate.ending(principal)):
            response.headers[TOKEN_ENDS] = instant(ends)
        return response

    return guard


async def _admit(request: web.Request, gate: Gate, sessions: Sessions, *, public: bool) -> Principal | None:
    """Find out who sends a request, and whether they may. Refused otherwise."""
    principal, page = await _caller(request, gate, sessions, public=public)
    if principal is not None:
        note_caller(request, principal, page=page)
        mark_authenticated(request)
        if not public:
            gate.check_permission(request, principal)
    return principal


async def _caller(
    request: web.Request, gate: Gate, sessions: Sessions, *, public: bool
) -> tuple[Principal | None, bool]:
    """Who sends a request (None: it is not known, and need not be), and whether by the dashboard's page."""
    if request.headers.get("Authorization"):
        check_no_page(request)
        return await gate.bearer(request), False
    _check_own_page(request)
    session = sessions.find(request.cookies.get(cookie_name(request), ""))
    if session is not None and (principal := await gate.renewed(session.principal)) is not None:
        _check_page(request, session, public=public)
        return principal, True
    if "Origin" not in request.headers and (found := await gate.certificate(request)) is not None:
        check_no_page(request)
        return found, False
    return (None if public else await gate.bearer(request)), False


def check_host(request: web.Request, *, over_tls: bool = False) -> None:
    """Refused unless the request is meant for a loopback address: no other site's page may lead here by a name."""
    if over_tls or not _is_loopback(request.headers.get("Host", "")):
        text = "the Host header must name a loopback address: this API is not for other sites' pages"
        if over_tls:
            text = "the Host header names none of this API's names; weft serve --admin-host NAME adds one"
        raise Refused(403, "foreign-host", text, record=f"Host {request.headers.get('Host', '')[:100]!r}")


def check_no_page(request: web.Request) -> None:
    """The token is for programs; no page has it."""
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        raise _foreign(request, "requests from web pages are refused")


def _check_own_page(request: web.Request) -> None:
    """Nothing from pages of others, also not of other ports of this host: a browser sends them our cookie too."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    own = f"{scheme_of(request)}://{request.headers.get('Host', '')}"
    if (origin is not None and origin != own) or site not in {"none", "same-origin"}:
        raise _foreign(request, "requests from web pages are refused, but for the dashboard's own")


def _foreign(request: web.Request, text: str) -> Refused:
    return Refused(403, "foreign-origin", text, record=f"Origin {request.headers.get('Origin', '')[:100]!r}")


def _check_page(request: web.Request, session: Session, *, public: bool) -> None:
    """A cookie alone opens nothing: a browser sends it to every other port of this host too, to applications of the
    mesh among them. Our page shows the session's key, which it keeps for its own port; and, to change something, where
    it is from."""
    reads = request.method in _READS
    if reads and public:
        return
    if not shows_key(session, request.headers.get(KEY_HEADER, "")):
        text = (
            f"the session's cookie is not enough: show the page's key in {KEY_HEADER}; weft dashboard gives a new one"
        )
        raise Refused(401 if reads else 403, "no-page-key", text)
    if reads:
        return
    if "Origin" not in request.headers:
        raise Refused(403, "no-page-key", f"a write needs the page's key in {KEY_HEADER}, and its Origin")
    if not request.path.startswith(PAGE_WRITES):
        raise Refused(403, "not-for-pages", "a page may explain and undo; for this use the command line")


def _is_loopback(host: str) -> bool:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, ""
    if port and not port.isdecimal():
        return False
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_token(request: web.Request, expected: str, name: str, path: str) -> None:
    """Refused unless the request bears the `expected` token, which is called `name` and stands in the file `path`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = hmac.compare_digest(given.strip().encode(errors="replace"), expected.encode())
    if scheme.lower() != "bearer" or not matches:
        text = f"send {name} as 'Authorization: Bearer ...'; it is in the file {path}"
        raise Refused(401, "wrong-token" if given else "token-required", text)
