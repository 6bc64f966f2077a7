"""The page itself: its files from the package, the headers that fence it in, and the exchange of a one-time address."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from urllib.parse import quote

from aiohttp import web

from weft.admin.dashboard.sessions import CODE_SECONDS, LONGEST_CODE_SECONDS, SESSION_SECONDS, Sessions
from weft.admin.guard import cookie_name, scheme_of
from weft.admin.people.calling import from_page, principal_of, who_calls, who_is
from weft.admin.replies import Refused, instant, reply, seconds
from weft.admin.routing import Parameter, Route

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_MODULES = b"<!-- modules -->"
_FENCE = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CODE = Parameter("code", "what the address has")
_CODE_LIFE = Parameter("seconds", "how long the address is good for", "number")


Record = Callable[[str, str], Awaitable[None]]
"""Keeps who did what, for the audit."""


async def unrecorded(_who: str, _action: str) -> None:
    """Keeps nothing."""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    kind: str
    tag: str


class Page:
    """Handlers of the page and of its session. `clock` gives seconds since the epoch, for people."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float], record: Record = unrecorded) -> None:
        self._sessions = sessions
        self._record = record
        self._clock = clock
        root = importlib.resources.files("weft.admin.dashboard") / "static"
        self._files = {f"/static/{name}": one for name, one in _read(root)}
        self._index = _with_modules(self._files.pop("/static/index.html"), self._files)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table that programs may want to know of."""
        return (
            Route("POST", "/v1/dashboard", self.address, "A one-time address that signs a browser in", (_CODE_LIFE,)),
            Route("DELETE", "/v1/dashboard", self.withdraw, "End an address, and the session that it opened", (_CODE,)),
            Route("DELETE", "/v1/session", self.leave, "End the session of the page that asks"),
        )

    def add_to(self, application: web.Application) -> None:
        """Serve the page's own paths, which are no API, and fence in every answer."""
        application.router.add_get("/", self.index)
        application.router.add_get("/open", self.open, allow_head=False)  # who only looks does not use it up
        for path in self._files:
            application.router.add_get(path, self.file)
        application.on_response_prepare.append(_fence_in)

    def is_public(self, path: str) -> bool:
        """Whether a path holds nothing but what every weft has."""
        return path in {"/", "/open"} or path in self._files

    async def address(self, request: web.Request) -> web.Response:
        """``POST /v1/dashboard``: for whoever may call this API, with what they may; no session makes another."""
        if from_page(request):
            raise Refused(403, "not-for-pages", "a page cannot sign in another: use weft dashboard")
        life = seconds(request, _CODE_LIFE.name, LONGEST_CODE_SECONDS)
        life = CODE_SECONDS if life is None else life
        code = self._sessions.offer(life, principal_of(request))
        url = f"{scheme_of(request)}://{request.headers['Host']}/open?code={quote(code)}"
        return reply({"url": url, "expires": instant(self._clock() + life)}, 201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """``DELETE /v1/dashboard``: for whoever has the code."""
        self._sessions.withdraw(request.query.get(_CODE.name, ""))
        return reply({"session": "ended"})

    async def leave(self, request: web.Request) -> web.Response:
        """``DELETE /v1/session``."""
        name = cookie_name(request)
        self._sessions.close(request.cookies.get(name, ""))
        await self._record(who_calls(request), "sign out")
        response = reply({"session": "ended"})
        response.del_cookie(name, path="/")
        return response

    async def open(self, request: web.Request) -> web.Response:
        """``GET /open?code=``: the page's cookie and its key, once. The key travels behind ``#``: no server sees it,
        and only pages of this very port can keep it."""
        if request.headers.get("Sec-Purpose", "").startswith("prefetch"):
            return web.Response(status=503)
        opened = self._sessions.open(request.query.get("code", ""))
        if opened is None:
            return web.Response(body=_USED, status=403, content_type="text/html", charset="utf-8")
        await self._record(who_is(opened.principal, page=True), "sign in")
        response = web.Response(status=303, headers={"Location": f"/#key={opened.key}", "Cache-Control": "no-store"})
        response.set_cookie(
            cookie_name(request),
            opened.cookie,
            max_age=int(SESSION_SECONDS),
            path="/",
            httponly=True,
            secure=scheme_of(request) == "https",
            samesite="Strict",
        )
        return response

    async def index(self, request: web.Request) -> web.Response:
        """``GET /``."""
        return _answer(request, self._index)

    async def file(self, request: web.Request) -> web.Response:
        """One of the page's files."""
        return _answer(request, self._files[request.path])


def _read(root: Traversable) -> list[tuple[str, _File]]:
    """Every file below `root`, by its path there."""
    found = []
    for one in sorted(root.iterdir(), key=lambda entry: entry.name):
        if one.is_dir():
            found += [(f"{one.name}/{name}", file) for name, file in _read(one)]
        elif kind := _TYPES.get(f".{one.name.rpartition('.')[2]}"):
            found.append((one.name, _file(one.read_bytes(), kind)))
    return found


def _with_modules(index: _File, files: Iterable[str]) -> _File:
    """The first page, with every module named, so that a browser need not find them one after the other."""
    links = "".join(f'<link rel="modulepreload" href="{path}">\n    ' for path in files if path.endswith(".js"))
    return _file(index.body.replace(_MODULES, links.rstrip().encode()), index.kind)


def _file(body: bytes, kind: str) -> _File:
    return _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(request: web.Request, file: _File) -> web.Response:
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.kind, charset="utf-8", headers=headers)


async def _fence_in(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _FENCE.items():
        response.headers.setdefault(name, value)


_USED = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>weft: used address</title>
<link rel="stylesheet" href="/static/base.css">
<main class="plain"><h1>This address does not open the dashboard any more</h1>
<p>It works once, and for a few minutes. Get another one with</p><pre>weft dashboard</pre>
<p>If this browser is signed in already, <a href="/">go to the dashboard</a>.</p></main></html>
"""
