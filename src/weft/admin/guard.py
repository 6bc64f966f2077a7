"""The admin API's guard: loopback hosts only, no web pages, a bearer token compared in constant time."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from weft.admin.audit import Audit
from weft.admin.replies import Handler, Refused
from weft.admin.server import mark_authenticated
from weft.settings.private import check_private, write_atomically


def admin_token(path: Path) -> str:
    """The admin token in `path`, made (0600) on first start. PermissionsError if others could read it."""
    if path.exists():
        check_private(path)
        if token := path.read_text().strip():
            return token
    token = secrets.token_urlsafe(32)
    write_atomically(path, token + "\n")
    return token


def new_guard(token: str, audit: Audit, public: frozenset[str]) -> Middleware:
    """A middleware that refuses, and records, what is not allowed to call. `public` paths need no token."""
    expected = token.encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check_host(request)
            if request.path not in public or request.headers.get("Authorization"):
                _check_token(request, expected)
                mark_authenticated(request)
        except Refused as refused:
            who = request.remote or "local"
            audit.refused(who, f"admin {request.method} {request.path}", refused.code, refused.record or str(refused))
            raise
        return await handler(request)

    return guard


def _check_host(request: web.Request) -> None:
    if not _is_loopback(request.headers.get("Host", "")):
        text = "the Host header must name a loopback address: this API is not for other sites' pages"
        raise Refused(403, "foreign-host", text, record=f"Host {request.headers.get('Host', '')[:100]!r}")
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        text = "requests from web pages are refused"
        raise Refused(403, "foreign-origin", text, record=f"Origin {request.headers.get('Origin', '')[:100]!r}")


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


def _check_token(request: web.Request, expected: bytes) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = hmac.compare_digest(given.strip().encode(errors="replace"), expected)
    if scheme.lower() != "bearer" or not matches:
        text = "send the admin token as 'Authorization: Bearer ...'; it is in the file control-plane/admin.token"
        raise Refused(401, "wrong-token" if given else "token-required", text)
