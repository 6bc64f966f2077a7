"""A control plane's answers without a mesh: the real page, sessions, guard and live stream, over a made-up world.

``python tests/dashboard/fake.py 60`` serves sixty services and prints one-time addresses.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from dashboard.world import World
from weft.admin.audit import Audit
from weft.admin.dashboard.board import Dashboard
from weft.admin.guard import new_guard
from weft.admin.people.failures import Failures
from weft.admin.people.gate import Entrance, Gate, Readable
from weft.admin.people.principals import People
from weft.admin.replies import Refused, reply
from weft.admin.server import new_application, serving
from weft.store.memory import MemoryStore

TOKEN = "the-admin-token"


def _answers(world: World) -> dict[tuple[str, str], Callable[[web.Request], object]]:
    def document(request: web.Request) -> object:
        wanted = {name: request.match_info[name] for name in ("kind", "namespace", "name")}
        for one in world.documents():
            if wanted.items() <= one["key"].items():
                return one
        raise Refused(404, "not-found", f"there is no {wanted['kind']} '{wanted['name']}'")

    def undo(request: web.Request) -> object:
        if request.query.get("dry_run") != "1":
            world.revision += 1
            world.undone.append({"revision": int(request.match_info["revision"])})
            world.broken.clear()
        document = {"key": world.key(), "change": "changed", "diff": "--- now\n+++ then\n-  v3\n+  v1\n"}
        wait = {"confirmed": ["a"] * 7, "pending": [], "nacked": [], "stuck": []}
        return {"revision": world.revision, "documents": [document], "left": [], "problems": [], "wait": wait}

    return {
        ("GET", "/v1/graph"): lambda request: world.graph(request.query.get("fold", "")),
        ("GET", "/v1/traffic"): lambda _: world.traffic(),
        ("GET", "/v1/traffic/series"): world.series,
        ("GET", "/v1/problems"): lambda _: {"problems": world.problems()},
        ("GET", "/v1/workloads"): lambda _: {"revision": world.revision, "workloads": world.workloads()},
        ("GET", "/v1/services"): lambda _: {"services": world.services()},
        ("GET", "/v1/documents"): lambda _: {"documents": world.documents()},
        ("GET", "/v1/documents/{kind}/{namespace}/{name}"): document,
        ("GET", "/v1/proxies"): lambda _: {"proxies": world.proxies()},
        ("GET", "/v1/proxies/{name}/config/{type}"): lambda request: world.config(request.match_info["name"]),
        ("GET", "/v1/history"): lambda _: {"revisions": world.history()},
        ("GET", "/v1/history/{revision}"): lambda request: world.revision_detail(int(request.match_info["revision"])),
        ("POST", "/v1/history/{revision}/undo"): undo,
        ("GET", "/v1/check"): lambda _: world.findings(),
        ("GET", "/v1/authz/matrix"): lambda _: world.matrix(),
        ("GET", "/v1/requests"): lambda _: {"requests": world.requests()},
        ("GET", "/v1/requests/explain"): lambda _: world.explanation(),
        ("POST", "/v1/explain"): lambda _: world.explanation(),
        ("GET", "/v1/events"): lambda _: {"events": []},
    }


def application(world: World) -> web.Application:
    """The fake's web application."""

    async def health() -> object:
        found = world.problems()
        numbers = {"errors": len(found), "warnings": 0, "documents": 2 * len(world.calls), "proxies_pending": 0}
        names = {"status": "ok", "version": "0.1.0", "revision": world.revision, "compiled": world.revision}
        return names | numbers | {"workloads": len(world.workloads()), "proxies": len(world.workloads())}

    async def graph() -> object:
        return world.graph()

    async def problems() -> object:
        return {"count": len(world.problems()), "problems": world.problems()}

    async def proxies() -> object:
        return {row["proxy"]: "in sync" for row in world.workloads()}

    parts = {"health": health, "problems": problems, "proxies": proxies, "graph": graph}
    board = Dashboard({name: one for name, one in parts.items() if f"/v1/{name}" not in world.missing})
    audit, people = Audit(MemoryStore()), People(MemoryStore())
    gate = Gate(TOKEN, audit, people, Failures(time.monotonic), Entrance(), Readable())
    guard = new_guard(gate, audit, board.sessions, board.is_public)
    app = new_application(guard, body_limit=100_000)
    for (method, path), answer in _answers(world).items():
        if path not in world.missing:
            app.router.add_route(method, path, _handler(answer))
    app.router.add_get("/v1/tap", _tap(world))
    for route in board.routes():
        app.router.add_route(route.method, route.path, route.handler)
    board.add_to(app)
    return app


def _handler(answer: Callable[[web.Request], object]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return reply(answer(request))

    return handle


def _tap(world: World) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for number in range(40):
            line = world.request(number, 503 if number % 7 == 0 else 200)
            await response.write(json.dumps(line).encode() + b"\n")
            await asyncio.sleep(0.05)
        return response

    return handle


@asynccontextmanager
async def running(world: World, port: int = 0) -> AsyncIterator[str]:
    """The fake on `port` (0: a free one); its address."""
    listener = socket.create_server(("127.0.0.1", port))
    where = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(application(world), listener):
        yield where


async def main() -> None:
    world = World(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
    if "broken" in sys.argv:
        world.broken |= {"default/ratings"} if len(world.calls) < 7 else {list(world.calls)[10], list(world.calls)[30]}
    async with running(world) as where, aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        while True:
            async with session.post(f"{where}/v1/dashboard?seconds=3600") as response:
                text = (await response.json())["url"]
            print(text, flush=True)
            await asyncio.sleep(1800)


if __name__ == "__main__":
    asyncio.run(main())
