"""Reports of agents: who may report what, over a connection that is kept, and what the admin API makes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admin.test_agent_api import WORKLOAD, Agent, certificate_for, refusals
from support.control import Rig
from weft.agent.http import HttpError, KeptConnection, Server
from weft.model.bins import bin_of
from weft.model.report import Cell, EdgeSum, Report
from weft.traffic.pace import Pace

PATH = "/v1/workloads/default/reviews-v1/report"
RATINGS = "ratings.default.svc.cluster.local"


def called(host: str = RATINGS, count: int = 10, route: str = "", **changes: Any) -> EdgeSum:
    """What the agent of reviews-v1 tells of calls of ratings: a tenth failed."""
    outcomes = ((200, "-", "", count - count // 10), (503, "UF", "", count // 10))
    usual: dict[str, Any] = {"outcomes": outcomes, "bins": ((bin_of(5), count),), "sent": 1000, "received": 100}
    return EdgeSum(
        "source", "http", host, 9080, "default/ratings-v1", "default/ratings", True, route, **(usual | changes)
    )


def report(sequence: int, *edges: EdgeSum, age: float = 1.0) -> Report:
    return Report("one", sequence, (Cell(age, edges),) if edges else ())


async def traffic(rig: Rig, path: str = "", status: int = 200, **query: Any) -> Any:
    async with rig.session() as session, session.get(f"/v1/traffic{path}", params=query) as response:
        body = await response.json()
        assert response.status == status, body
        return body


async def until_told(rig: Rig, version: int) -> None:
    async with asyncio.timeout(60):
        await rig.parts.traffic.changed(version)


async def remote_agent(rig: Rig, directory: Path) -> Agent:
    local = Agent(rig, directory, local=True)
    await local.register()
    return Agent(rig, directory, pem=await certificate_for(rig, WORKLOAD))


async def test_a_report_becomes_an_edge_of_the_caller_that_its_certificate_names(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    answer = await agent.call("POST", PATH, report(1, called()))
    assert answer["interval"] == 2.0
    await until_told(rig, 0)
    found = await traffic(rig)
    (edge,) = found["edges"]
    assert edge["source"] == "default/reviews-v1"
    assert edge["source_service"] == "default/reviews"
    assert edge["destination"] == "default/ratings"
    assert edge["destination_workload"] == "default/ratings-v1"
    assert (edge["requests"], edge["failures"], edge["success_rate"]) == (10, 1, 0.9)
    assert edge["codes"] == {"200": 9, "503": 1}
    assert edge["flags"] == {"UF": 1}
    assert 5.0 <= edge["p50_ms"] <= edge["p95_ms"] <= edge["p99_ms"] <= 5.5
    assert (edge["bytes_sent"], edge["bytes_received"], edge["mtls"]) == (100, 1000, True)
    assert edge["requests_per_second"] == pytest.approx(10 / found["seconds"], abs=0.001)
    assert not found["complete"]
    assert found["dropped"] == 0


async def test_two_reports_go_over_one_connection_and_the_rest_does_not(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    host, _, port = rig.agents.rpartition(":")
    server = Server(host=host, port=int(port), tls=agent.tls)
    kept = KeptConnection()

    async def post(path: str, body: object) -> bool:
        data = msgspec.json.encode(body)
        answer = await kept.ask(server, "POST", path, body=data, headers={}, timeout=5)
        assert answer.status == 200, answer.body
        return answer.keeps

    assert await post(PATH, report(1, called()))
    assert await post(PATH, report(2, called()))
    assert not await post("/v1/workloads/default/reviews-v1/lease", {"state": "healthy"})
    assert await post(PATH, report(3, called()))
    await kept.close()
    await until_told(rig, 0)


async def test_a_report_that_comes_twice_counts_once(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    for _ in range(3):
        await agent.call("POST", PATH, report(1, called()))
    await until_told(rig, 0)
    await asyncio.sleep(0)
    assert [edge["requests"] for edge in (await traffic(rig))["edges"]] == [10]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/workloads/default/ratings-v1/report", 403, "not-your-workload"),
        ("/v1/workloads/other/reviews-v1/report", 403, "not-your-workload"),
    ],
)
async def test_nobody_tells_of_another(rig: Rig, tmp_path: Path, path: str, status: int, code: str) -> None:
    agent = await remote_agent(rig, tmp_path)
    assert (await agent.call("POST", path, report(1, called()), status))["code"] == code
    assert code in await refusals(rig)
    assert (await traffic(rig))["edges"] == []


async def test_without_a_certificate_nobody_tells_anything(rig: Rig, tmp_path: Path) -> None:
    await Agent(rig, tmp_path, local=True).register()
    answer = await Agent(rig, tmp_path).call("POST", PATH, report(1, called()), 401)
    assert answer["code"] == "certificate-required"


async def test_a_certificate_of_another_account_does_not_tell(rig: Rig, tmp_path: Path) -> None:
    await Agent(rig, tmp_path, local=True).register()
    other = dataclasses.replace(WORKLOAD, service_account="other")
    agent = Agent(rig, tmp_path, pem=await certificate_for(rig, other))
    assert (await agent.call("POST", PATH, report(1), 403))["code"] == "not-your-workload"


async def test_a_connection_does_not_outlive_its_certificate(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    object.__setattr__(rig.parts, "clock", lambda: 4e9)
    assert (await agent.call("POST", PATH, report(1), 401))["code"] == "certificate-expired"


async def test_who_is_not_registered_is_told_so(rig: Rig, tmp_path: Path) -> None:
    agent = Agent(rig, tmp_path, pem=await certificate_for(rig, WORKLOAD))
    assert (await agent.call("POST", PATH, report(1), 404))["code"] == "not-registered"


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "x", "sequence": 1, "cells": [{"age": 1e9, "edges": []}]},
        {"agent": "x" * 100, "sequence": 1},
        {"agent": "x", "sequence": -1},
        {
            "agent": "x",
            "sequence": 1,
            "cells": [{"age": 0, "edges": [["source", "http", "a\nb", 1, "", "", None, ""]]}],
        },
        {"agent": "x", "sequence": 1, "cells": [{"age": 0, "edges": [["source"] * 3]}]},
        [],
    ],
    ids=json.dumps,
)
async def test_what_is_no_report_is_refused(rig: Rig, tmp_path: Path, body: object) -> None:
    agent = await remote_agent(rig, tmp_path)
    assert (await agent.call("POST", PATH, body, 400))["code"] == "bad-body"


async def test_who_reports_without_end_is_told_to_wait(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await remote_agent(rig, tmp_path)
    assert not (await agent.call("POST", PATH, report(1, called())))["again"]
    monkeypatch.setattr(Pace, "allows", lambda *_: False)
    answer = await agent.call("POST", PATH, {"this": "is not even decoded"})
    assert answer["again"]
    assert answer["interval"] > 2


async def test_what_is_too_large_is_refused(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    huge = report(1, *(called(route=f"VirtualService default/{'x' * 200}{number}") for number in range(490)))
    cells = Report("one", 1, huge.cells * 5)
    assert (await agent.call("POST", PATH, cells, 413))["code"] == "too-large"


async def test_filters_groups_and_series(rig: Rig, tmp_path: Path) -> None:
    agent = await remote_agent(rig, tmp_path)
    details = "details.default.svc.cluster.local"
    first, second = called(route="HTTPRoute default/a"), called(route="HTTPRoute default/b", count=20)
    third = called(details)
    await agent.call("POST", PATH, report(1, first, second, third))
    await until_told(rig, 0)
    assert len((await traffic(rig))["edges"]) == 2
    by_route = (await traffic(rig, by="route"))["edges"]
    assert {edge["route"]: edge["requests"] for edge in by_route} == {
        "HTTPRoute default/a": 10,
        "HTTPRoute default/b": 20,
    }
    by_service = (await traffic(rig, by="service", name="ratings"))["edges"]
    assert [(edge["destination"], edge["requests"], edge["failures"]) for edge in by_service] == [
        ("default/ratings", 30, 3)
    ]
    for query in (
        {"destination": "default/ratings"},
        {"name": "default/ratings"},
        {"namespace": "default", "name": "ratings"},
    ):
        found = (await traffic(rig, "", 200, **query))["edges"]
        assert [edge["destination"] for edge in found] == ["default/ratings"], query
    for nothing in ({"source": "default/x"}, {"workload": "default/x"}, {"namespace": "x"}, {"name": "x"}):
        assert (await traffic(rig, "", 200, **nothing))["edges"] == [], nothing
    series = await traffic(rig, "/series", window="60", step="10", destination="default/ratings")
    assert series["step"] == 10
    assert sum(point["requests"] for point in series["points"]) == 30
    assert sum(point["errors"] for point in series["points"]) == 3
    assert {point["p50_ms"] for point in series["points"] if not point["requests"]} == {None}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", {"window": "100000"}),
        ("", {"window": "x"}),
        ("", {"by": "colour"}),
        ("/series", {"step": "15"}),
        ("/series", {"step": "0"}),
        ("/series", {"window": "86400", "step": "10"}),
    ],
)
async def test_what_cannot_be_asked(rig: Rig, path: str, query: dict[str, str]) -> None:
    assert (await traffic(rig, path, 400, **query))["code"] == "bad-parameter"


async def test_a_kept_connection_that_the_server_has_closed_is_opened_anew() -> None:
    served = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()  # without saying so

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    kept = KeptConnection()
    for _ in range(3):
        got = await kept.ask(Server(host="127.0.0.1", port=port), "POST", "/", body=b"", headers={}, timeout=5)
        assert got.body == b"{}"
    assert served == 3
    await kept.close()
    listener.close()
    await listener.wait_closed()
    with pytest.raises((OSError, HttpError)):
        await kept.ask(Server(host="127.0.0.1", port=port), "POST", "/", body=b"", headers={}, timeout=5)
