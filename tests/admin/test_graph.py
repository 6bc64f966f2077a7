"""The graph through the admin API."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from support.control import TOKEN, Rig
from support.meshdocs import service
from weft.admin.api import admin_application
from weft.admin.graph import Graph
from weft.traffic.edges import ALL, Asked, Edge, NoTraffic, Window
from weft.traffic.graph import Shown


class Seen(NoTraffic):
    """A window with one edge."""

    async def window(self, seconds: float, asked: Asked = ALL) -> Window:
        edge = Edge("default/page-v1", "", "default/reviews", "", 9080, "http", mtls=True, requests=int(seconds))
        return Window(1000.0 - seconds, 1000.0, (edge,))


async def ask(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


async def test_the_graph_has_the_services_of_the_mesh_before_anybody_calls(rig: Rig) -> None:
    async with rig.session() as session:
        await session.post("/v1/documents", params={"wait": "5"}, data=service("page") + service("reviews"))
        status, found = await ask(session, "/v1/graph")
    assert status == 200
    assert {one["id"] for one in found["nodes"]} == {"default/page", "default/reviews"}
    assert found["edges"] == []
    assert found["complete"] is False
    assert found["from"] < found["until"]


async def test_the_window_its_namespaces_and_folds_are_parameters(rig: Rig) -> None:
    parts = replace(rig.parts, traffic=Seen(lambda: 1000.0))
    application = admin_application(parts, TOKEN)

    async with TestClient(TestServer(application), headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        response = await client.get("/v1/graph", params={"window": "30", "fold": "default"})
        found = await response.json()
        assert [one["id"] for one in found["nodes"]] == ["namespace default"]
        found = await (await client.get("/v1/graph", params={"window": "30"})).json()
        assert [(one["from"], one["to"], one["requests_per_second"]) for one in found["edges"]] == [
            ("workload default/page-v1", "default/reviews", 1.0)
        ]
        assert found["from"] == "1970-01-01T00:16:10.000Z"
        found = await (await client.get("/v1/graph", params={"namespace": "elsewhere"})).json()
        assert found["nodes"] == []
        response = await client.get("/v1/graph", params={"window": "90000"})
        assert response.status == 400
        assert "from 0 to 86400" in (await response.json())["error"]


async def test_nobody_moves_between_two_looks_at_once_and_old_pictures_are_forgotten(rig: Rig) -> None:
    handlers = Graph(replace(rig.parts, traffic=Seen(lambda: 1000.0)))
    before = await handlers.picture()
    looks = await asyncio.gather(*(handlers.picture() for _ in range(5)))
    assert {str(one["nodes"]) for one in looks} == {str(before["nodes"])}
    for number in range(40):
        await handlers.picture(60.0, Shown(frozenset({f"n{number}"})))
    assert len(handlers._layouts) == 16
