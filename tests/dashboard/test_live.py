"""The live stream: a picture, then what changes; bounded; a page that does not read is cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from support.control import Rig
from weft.admin.dashboard import live as module
from weft.admin.dashboard.delta import changes
from weft.admin.dashboard.live import PAGES, Live
from weft.admin.server import new_application, serving
from weft.testing.polling import eventually


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """The events of a stream, comments left out."""
    name = ""
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


class Board:
    """A server with a live stream of one part."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {"n": 0}
        self.made = 0
        self.live = Live({"number": self.part})
        self.url = ""

    async def part(self) -> object:
        self.made += 1
        if self.value.get("fails"):
            raise ValueError("a fault")
        return dict(self.value)


@pytest.fixture
async def board(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Board]:
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    board = Board()
    application = new_application(body_limit=1000)
    for route in board.live.routes():
        application.router.add_route(route.method, route.path, route.handler)
    application.cleanup_ctx.append(board.live.running)
    listener = socket.create_server(("127.0.0.1", 0))
    board.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/live"
    async with serving(application, listener):
        yield board


async def test_a_picture_comes_first_and_then_what_changed(board: Board) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, session.get(board.url) as response:
        assert response.content_type == "text/event-stream"
        stream = events(response)
        assert await anext(stream) == ("snapshot", {"number": {"n": 0}})
        board.value = {"n": 1}
        assert await anext(stream) == ("change", {"set": {"number": {"n": 1}}})
        async with session.get(board.url) as second:
            assert await anext(events(second)) == ("snapshot", {"number": {"n": 1}})


async def test_a_part_that_fails_is_shown_as_such_and_comes_back(board: Board) -> None:
    board.value = {"fails": True}
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, session.get(board.url) as response:
        stream = events(response)
        _, picture = await anext(stream)
        assert "number cannot be shown" in picture["number"]["error"]
        assert "a fault\n" not in str(picture)
        board.value = {"n": 5}
        assert await anext(stream) == ("change", {"set": {"number": {"n": 5}}})


async def test_nothing_is_made_while_nobody_looks(board: Board) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        async with session.get(board.url) as response:
            await anext(events(response))
        await eventually("the page is gone", lambda: not board.live._pages)
        made = board.made
        async with session.get(board.url) as response:
            await anext(events(response))
        assert board.made > made


async def test_there_are_so_many_pages_and_no_more(board: Board) -> None:
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        for _ in range(PAGES):
            response = await stack.enter_async_context(session.get(board.url))
            await anext(events(response))
        async with session.get(board.url) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "too-many-pages"


async def test_a_page_that_does_not_read_is_cut(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.2)
    board.value = {"text": "x" * 4_000_000}
    host, port = "127.0.0.1", int(board.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection(host, port, limit=1000)
    writer.write(b"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    async with asyncio.timeout(60):
        await reader.readline()
        for number in range(100):
            board.value = {"text": str(number) * 4_000_000}
            await asyncio.sleep(0.05)
            if board.made > 3 and not board.live._pages:
                break
        assert not board.live._pages
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_control_planes_own_picture(rig: Rig) -> None:
    async with asyncio.timeout(60), rig.session() as session, session.get("/v1/live") as response:
        name, picture = await anext(events(response))
        assert name == "snapshot"
        assert picture["health"]["status"] == "ok"
        assert picture["problems"] == {"count": 0, "problems": []}
        assert picture["proxies"] == {}


async def test_a_stranger_has_no_stream(rig: Rig) -> None:
    async with aiohttp.ClientSession(rig.admin) as session, session.get("/v1/live") as response:
        assert response.status == 401


async def test_a_change_is_worked_out_once_for_all_pages(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(before: Any, after: Any) -> Any:
        if before is not after:
            compared.append((before, after))
        return changes(before, after)

    monkeypatch.setattr(module, "changes", counted)
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pages = []
        for _ in range(4):
            page = events(await stack.enter_async_context(session.get(board.url)))
            assert (await anext(page))[0] == "snapshot"
            pages.append(page)
        board.value = {"n": 1}
        assert [(await anext(page))[0] for page in pages] == ["change"] * 4
    assert len(compared) == 1
