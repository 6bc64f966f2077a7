"""What one of many workloads of an Envoy is told by its admin interface: its own, by the names that everybody knows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from aiohttp import web

from weft.agent.host.carried_envoy import CarriedAdmin, NodeAdmin
from weft.agent.series import SERIES_QUERY
from weft.model.workload import SocketAddress
from weft.xds.nodes.names import CarriedName

STATS = {
    "http.a~default~inbound.downstream_rq_active": 1,
    "http.ba~default~inbound.downstream_rq_active": 2,
    "cluster.a~default~outbound|80||b.default.upstream_rq_active": 3,
    "a~default~tcp.inbound.deny.rbac.denied": 4,
    "ba~default~tcp.inbound.deny.rbac.denied": 5,
    "weft.a~default~.outbound.all.closed": 6,
    "weft.ba~default~.outbound.all.closed": 7,
    "control_plane.connected_state": 1,
    "server.uptime": 9,
}

LISTENERS_ASKED: list[int] = []


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    """An admin interface that filters as Envoy does: by a regular expression that is searched for."""

    async def stats(request: web.Request) -> web.Response:
        wanted = parse_qs(urlsplit(request.raw_path).query).get("filter", [""])[0]
        found = [{"name": name, "value": value} for name, value in STATS.items() if re.search(unquote(wanted), name)]
        return web.json_response({"stats": found})

    async def listeners(_: web.Request) -> web.Response:
        LISTENERS_ASKED.append(1)
        await asyncio.sleep(0.05)
        where = {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}
        return web.json_response({"listener_statuses": [{"name": "one", "local_address": where}]})

    application = web.Application()
    application.router.add_get("/stats", stats)
    application.router.add_get("/listeners", listeners)
    runner = web.AppRunner(application)
    await runner.setup()
    path = tmp_path / "admin.sock"
    await web.UnixSite(runner, str(path)).start()
    yield path
    await runner.cleanup()


async def test_a_workload_is_told_its_own_and_no_neighbours_whose_name_ends_alike(socket: Path) -> None:
    admin = CarriedAdmin(socket, CarriedName("a", "default"))
    own = {
        "http.inbound.downstream_rq_active": 1,
        "cluster.outbound|80||b.default.upstream_rq_active": 3,
        "tcp.inbound.deny.rbac.denied": 4,
    }
    counters, gauges, connected, active, body = await asyncio.gather(
        admin.values("Counters"),
        admin.values("Gauges"),
        admin.connected(),
        admin.gauges(r"^http\.inbound.*\.downstream_rq_active$"),
        admin.body(SERIES_QUERY),
    )
    assert {name: value for name, value in counters.items() if not name.startswith("weft.")} == own
    assert gauges["control_plane.connected_state"] == 1
    assert connected
    assert active == {"http.inbound.downstream_rq_active": 1}
    assert json.loads(body) == {"stats": [{"name": "weft.outbound.all.closed", "value": 6}]}


async def test_the_node_is_told_what_is_nobodys(socket: Path) -> None:
    found = await NodeAdmin(socket).values("Counters")
    assert found == {"control_plane.connected_state": 1, "server.uptime": 9}


async def test_those_who_wait_together_are_one_question_to_envoy(socket: Path) -> None:
    admin = NodeAdmin(socket)
    LISTENERS_ASKED.clear()
    first = asyncio.create_task(admin.listeners())
    others = [asyncio.create_task(admin.listeners()) for _ in range(40)]
    await asyncio.sleep(0)
    first.cancel()  # whoever asked first may go, and the others have their answer all the same
    assert set(await asyncio.gather(*others)) == {(SocketAddress("127.0.0.1", 8080),)}
    assert len(LISTENERS_ASKED) == 1
    await admin.listeners()
    assert len(LISTENERS_ASKED) == 2
