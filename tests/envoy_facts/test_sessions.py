"""Facts of Envoy's stateful sessions, as routes ask for them: by cookie and header, over several backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, Response, echo_server
from support.proxy import running_view
from support.views import (
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.routes.rules import Forward, RequestMatch, Session, TextMatch, WeightedBackend
from weft.mesh.routes.sessions import session_names
from weft.mesh.services.service import BackendKey

STABLE, CANARY = BackendKey("stable.example", 80), BackendKey("canary.example", 80)
COOKIE = Session("cookie", "shop")
ASKS = 12


@dataclass
class World:
    """A gateway to ask."""

    port: int

    async def ask(self, *headers: str, path: str = "/") -> Response:
        async with Connection(self.port) as client:
            return await client.request(path, "shop.example", *headers)

    async def who(self, *headers: str, path: str = "/") -> str:
        answer = await self.ask(*headers, path=path)
        return str(answer.headers["x-app"]) if answer.status == 200 else str(answer.status)


@asynccontextmanager
async def world(tmp_path: Path, forward: Forward, match: RequestMatch | None = None) -> AsyncIterator[World]:
    """Two instances of a stable backend and two of a canary behind one rule."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(echo_server(name))
            for name in ("stable-1", "stable-2", "canary-1", "canary-2")
        ]
        found = [
            target(*(endpoint(each.port) for each in group), to=backend(key, transport=PLAINTEXT))
            for key, group in ((STABLE, servers[:2]), (CANARY, servers[2:]))
        ]
        port = free_port()
        host = virtual_host([rule(forward, match)], domains=("*",), name="*:80", port=80)
        view = gateway(gateway_port(port, virtual_hosts=(host,)), targets=targets(*found))
        await stack.enter_async_context(running_view(view, tmp_path))
        yield World(port)


def one(session: Session) -> Forward:
    return Forward((WeightedBackend(STABLE),), session=session)


def cookie_of(answer: Response) -> str:
    return str(answer.headers["set-cookie"].partition(";")[0])


async def test_a_cookie_holds_the_instance(tmp_path: Path) -> None:
    async with world(tmp_path, one(COOKIE)) as there:
        assert {await there.who() for _ in range(ASKS)} == {"stable-1", "stable-2"}
        first = await there.ask()
        name, _, attributes = first.headers["set-cookie"].partition("=")
        assert name == "shop"
        assert sorted(part.strip() for part in attributes.split(";")[1:]) == ["HttpOnly", "Path=/", "SameSite=Lax"]
        held = {await there.who(f"cookie: a=1; {cookie_of(first)}; b=2") for _ in range(ASKS)}
        assert held == {first.headers["x-app"]}
        assert "set-cookie" not in (await there.ask(f"cookie: {cookie_of(first)}")).headers


async def test_a_permanent_cookie_says_for_how_long(tmp_path: Path) -> None:
    async with world(tmp_path, one(replace(COOKIE, lifetime=3600.0, secure=True))) as there:
        first = await there.ask()
        attributes = {part.strip() for part in first.headers["set-cookie"].split(";")[1:]}
        assert {"Max-Age=3600", "Secure"} <= attributes
        assert {await there.who(f"cookie: {cookie_of(first)}") for _ in range(ASKS)} == {first.headers["x-app"]}


async def test_a_header_holds_the_instance(tmp_path: Path) -> None:
    async with world(tmp_path, one(Session("header", "x-shop"))) as there:
        first = await there.ask()
        header = f"x-shop: {first.headers['x-shop']}"
        assert {await there.who(header) for _ in range(ASKS)} == {first.headers["x-app"]}


@pytest.mark.parametrize("bad", ["shop=", "shop=nonsense", "shop=%00", "shop=MTI3LjAuMC4xOjE="])
async def test_what_a_client_makes_up_leads_to_some_instance(tmp_path: Path, bad: str) -> None:
    async with world(tmp_path, one(COOKIE)) as there:
        assert {await there.who(f"cookie: {bad}") for _ in range(ASKS)} <= {"stable-1", "stable-2"}


async def test_a_cookie_is_for_the_path_of_the_match(tmp_path: Path) -> None:
    match = RequestMatch(path=TextMatch("segment-prefix", "/a"))
    async with world(tmp_path, one(replace(COOKIE, path="/a")), match) as there:
        first = await there.ask(path="/a/b")
        assert "Path=/a" in first.headers["set-cookie"]
        cookie = f"cookie: {cookie_of(first)}"
        assert {await there.who(cookie, path="/a/c?d") for _ in range(ASKS)} == {first.headers["x-app"]}


async def test_backends_have_sessions_of_their_own_or_none(tmp_path: Path) -> None:
    """As services have them: who was at the one with sessions once stays there, others are divided."""
    forward = Forward((WeightedBackend(STABLE), WeightedBackend(CANARY, session=COOKIE)))
    async with world(tmp_path, forward) as there:
        answers = [await there.ask() for _ in range(40)]
        assert {answer.headers["x-app"][:-2] for answer in answers} == {"stable", "canary"}
        assert {answer.headers["x-app"][:-2] for answer in answers if "set-cookie" in answer.headers} == {"canary"}
        first = next(answer for answer in answers if "set-cookie" in answer.headers)
        assert {await there.who(f"cookie: {cookie_of(first)}") for _ in range(ASKS)} == {first.headers["x-app"]}


@pytest.mark.parametrize("weights", [(1, 1), (1, 0), (0, 1)])
async def test_a_session_stays_at_its_backend_whatever_the_weights(tmp_path: Path, weights: tuple[int, int]) -> None:
    even = Forward((WeightedBackend(STABLE), WeightedBackend(CANARY)), session=COOKIE)
    forward = replace(
        even, backends=tuple(replace(each, weight=weight) for each, weight in zip(even.backends, weights, strict=True))
    )
    names = session_names(even, COOKIE)
    assert names[0] == "shop"
    cookies = []
    async with world(tmp_path, even) as there:
        for prefix in ("stable", "canary"):
            answer = await there.ask()
            while not answer.headers["x-app"].startswith(prefix):
                answer = await there.ask()
            assert cookie_of(answer).partition("=")[0] == names[prefix == "canary"]
            held = {await there.who(f"cookie: {cookie_of(answer)}") for _ in range(ASKS)}
            assert held == {answer.headers["x-app"]}
            cookies.append(cookie_of(answer))
    (tmp_path / "again").mkdir()
    async with world(tmp_path / "again", forward) as there:
        for prefix, cookie in zip(("stable", "canary"), cookies, strict=True):
            found = {(await there.who(f"cookie: {cookie}")).partition("-")[0] for _ in range(ASKS)}
            assert found == {prefix}
