"""Who may open the page and what its session may do: the one-time address, the cookie, the key, and every refusal."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from support.control import Rig

FENCE = ("script-src 'self'", "default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'")


async def address(rig: Rig) -> str:
    async with rig.session() as session, session.post("/v1/dashboard") as response:
        assert response.status == 201
        url: str = (await response.json())["url"]
        return url


class Browser:
    """What a browser holds after the one-time address was opened."""

    def __init__(self, rig: Rig, url: str) -> None:
        self.rig, self.url, self.key = rig, url, ""
        self.session = aiohttp.ClientSession(rig.admin, cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Browser:
        async with self.session.get(self.url, allow_redirects=False) as response:
            assert response.status == 303
            cookie = response.headers["Set-Cookie"]
            place = urlsplit(response.headers["Location"])
            assert (place.netloc, place.path, place.query) == ("", "/", "")
            self.key = parse_qs(place.fragment)["key"][0]
        assert {"HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def status(self, method: str, path: str, **headers: str) -> tuple[int, str]:
        """The status and the error's code."""
        async with self.session.request(method, path, headers=headers) as response:
            kind = response.content_type
            body: Any = await response.json() if kind == "application/json" and method != "HEAD" else {}
            return response.status, body.get("code", "")


async def test_the_address_works_once(rig: Rig) -> None:
    url = await address(rig)
    async with Browser(rig, url) as browser:
        assert await browser.status("GET", "/v1/services", **{"X-Weft-Key": browser.key}) == (200, "")
        async with aiohttp.ClientSession() as other, other.get(url) as response:
            assert response.status == 403
            text = await response.text()
            assert "weft dashboard" in text
            assert "Set-Cookie" not in response.headers


async def test_a_page_that_was_prefetched_does_not_use_the_address_up(rig: Rig) -> None:
    url = await address(rig)
    async with aiohttp.ClientSession() as early, early.get(url, headers={"Sec-Purpose": "prefetch"}) as response:
        assert response.status == 503
    async with Browser(rig, url) as browser:
        assert await browser.status("GET", "/v1/services", **{"X-Weft-Key": browser.key}) == (200, "")


async def test_who_only_looks_at_the_address_does_not_use_it_up(rig: Rig) -> None:
    url = await address(rig)
    async with aiohttp.ClientSession() as other, other.head(url) as response:
        assert response.status == 405
        assert "Set-Cookie" not in response.headers
    async with Browser(rig, url):
        pass


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/v1/services", {"Origin": "http://evil.example"}, (403, "foreign-origin")),
        ("GET", "/v1/services", {"Origin": "null"}, (403, "foreign-origin")),
        ("GET", "/v1/services", {"Sec-Fetch-Site": "cross-site"}, (403, "foreign-origin")),
        ("GET", "/v1/services", {"Sec-Fetch-Site": "same-site"}, (403, "foreign-origin")),
        ("GET", "/v1/services", {"Host": "evil.example"}, (403, "foreign-host")),
        ("GET", "/", {"Host": "evil.example"}, (403, "foreign-host")),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site"}, (403, "foreign-origin")),
        ("GET", "/v1/services", {"Sec-Fetch-Site": "same-origin", "X-Weft-Key": "KEY"}, (200, "")),
        ("GET", "/v1/services", {"Sec-Fetch-Site": "none", "X-Weft-Key": "KEY"}, (200, "")),
        ("GET", "/v1/services", {"Cookie": "weft-session-1=x", "X-Weft-Key": "KEY"}, (200, "")),
        ("GET", "/", {}, (200, "")),
        ("GET", "/v1/health", {}, (200, "")),
        ("GET", "/v1/services", {}, (401, "no-page-key")),
        ("HEAD", "/v1/services", {}, (401, "")),
        ("GET", "/v1/services", {"X-Weft-Key": "wrong"}, (401, "no-page-key")),
        ("GET", "/v1/live", {}, (401, "no-page-key")),
        ("GET", "/v1/tap?workload=x", {}, (401, "no-page-key")),
        ("OPTIONS", "/v1/services", {}, (403, "no-page-key")),
        ("POST", "/v1/explain", {}, (403, "no-page-key")),
        ("POST", "/v1/explain", {"X-Weft-Key": "wrong", "Origin": "OWN"}, (403, "no-page-key")),
        ("POST", "/v1/explain", {"X-Weft-Key": "KEY"}, (403, "no-page-key")),
        ("POST", "/v1/explain", {"X-Weft-Key": "KEY", "Origin": "http://127.0.0.1:1"}, (403, "foreign-origin")),
        ("DELETE", "/v1/session", {"Origin": "OWN"}, (403, "no-page-key")),
        ("POST", "/v1/documents", {"X-Weft-Key": "KEY", "Origin": "OWN"}, (403, "not-for-pages")),
        ("DELETE", "/v1/documents/svc/default/a", {"X-Weft-Key": "KEY", "Origin": "OWN"}, (403, "not-for-pages")),
        ("POST", "/v1/tokens", {"X-Weft-Key": "KEY", "Origin": "OWN"}, (403, "not-for-pages")),
        ("POST", "/v1/dashboard", {"X-Weft-Key": "KEY", "Origin": "OWN"}, (403, "not-for-pages")),
    ],
)
async def test_what_a_session_may_and_may_not(
    rig: Rig, method: str, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    async with Browser(rig, await address(rig)) as browser:
        words = {"KEY": browser.key, "OWN": rig.admin}
        given = {name: words.get(value, value) for name, value in headers.items()}
        assert await browser.status(method, path, **given) == expected
    if expected[0] == 403:
        event = next(one for one in await rig.audited() if one.outcome == "refused")
        assert event.detail.startswith(expected[1])
        assert browser.key not in event.detail


async def test_a_session_ends_when_its_page_says_so(rig: Rig) -> None:
    async with Browser(rig, await address(rig)) as browser:
        cookies = {one.key: one.value for one in browser.session.cookie_jar}
        given = {"X-Weft-Key": browser.key, "Origin": rig.admin}
        assert await browser.status("DELETE", "/v1/session", **given) == (200, "")
        done = [(one.who, one.action) for one in await rig.audited() if one.outcome == "done"]
        assert done == [("dashboard", "sign out"), ("dashboard", "sign in")]
        async with aiohttp.ClientSession(rig.admin, cookies=cookies) as kept, kept.get("/v1/services") as response:
            assert response.status == 401


async def test_a_cookie_of_somebody_else_is_nobody(rig: Rig) -> None:
    port = urlsplit(rig.admin).port
    for cookie in ("", "x", "a" * 4000):
        async with (
            aiohttp.ClientSession(rig.admin, headers={"Cookie": f"weft-session-{port}={cookie}"}) as session,
            session.get("/v1/services") as response,
        ):
            assert response.status == 401


async def test_the_token_does_not_work_from_a_page(rig: Rig) -> None:
    async with rig.session(Origin=rig.admin) as session, session.get("/v1/services") as response:
        assert response.status == 403


async def test_every_answer_is_fenced_in(rig: Rig) -> None:
    async with Browser(rig, await address(rig)) as browser:
        for path in ("/", "/static/main.js", "/static/base.css", "/v1/services", "/v1/nothing", "/open?code=x"):
            async with browser.session.get(path) as response:
                policy = response.headers["Content-Security-Policy"]
                assert all(part in policy for part in FENCE), path
                assert "unsafe" not in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"


async def test_files_are_sent_once_and_nothing_else_of_the_package_is(rig: Rig) -> None:
    async with aiohttp.ClientSession(rig.admin) as session:
        async with session.get("/static/main.js") as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            tag = response.headers["ETag"]
        async with session.get("/static/main.js", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        for path in ("/static/", "/static/..%2fpage.py", "/static/../page.py", "/static/index.html"):
            async with session.get(path) as response:
                assert response.status in {401, 404}, path
