"""Explanations, requests and taps through the APIs: what agents report, and what people who ask are told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from support.control import Rig
from weft.admin.taps import Taps, TooManyTapsError
from weft.model.requests import RequestSeen, RequestsReport, TapFilter
from weft.model.workload import SocketAddress, Upstream, Workload, WorkloadPort, WorkloadState
from weft.sources.workloads import put_workload
from weft.testing.polling import eventually
from weft.traffic.pace import Pace

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}
"""
SEEN = RequestSeen(
    1000.0, "outbound", id="11111111-2222-3333-4444-555555555555", trace="ab" * 16, method="GET", path="/x",
    host="reviews", status=503, flags="UF", details="upstream_reset_before_response_started{remote_connection_failure}",
    upstream="127.0.0.1:1", cluster="outbound|80||reviews.default.svc.cluster.local",
    object="Service default/reviews", source="mesh.yaml:2", attempts=4,
)  # fmt: skip


def workload(app: str, number: int) -> Workload:
    inbound, application = (SocketAddress("127.0.0.1", port + number) for port in (30000, 40000))
    ports = (WorkloadPort(9080, application, inbound),)
    labels = (("app", app),)
    return Workload(f"{app}-v1", "default", app, labels, ports, state=WorkloadState.HEALTHY)


async def call(rig: Rig, method: str, path: str, body: object = None, status: int = 200) -> Any:
    data = msgspec.json.encode(body) if body is not None else None
    async with rig.session() as session, session.request(method, path, data=data) as response:
        text = await response.text()
        assert response.status == status, text
        return json.loads(text)


async def report(rig: Rig, name: str, *seen: RequestSeen, status: int = 200, **more: int) -> Any:
    connector = aiohttp.UnixConnector(str(rig.home.agent_socket))
    path = f"/v1/workloads/default/{name}/requests"
    body = msgspec.json.encode(RequestsReport(seen, **more))
    async with (
        aiohttp.ClientSession("http://local", connector=connector) as session,
        session.post(path, data=body) as response,
    ):
        text = await response.text()
        assert response.status == status, text
        return json.loads(text)


@pytest.fixture
async def mesh(rig: Rig) -> Rig:
    async with rig.session() as session, session.post("/v1/documents?wait=5", data=SERVICES) as response:
        assert response.status == 200, await response.text()
    ours = (workload("reviews", 1), workload("page", 2))
    leases = rig.parts.leases
    for one in ours:
        granted = leases.granted(f"default/{one.name}")
        await rig.store.write([put_workload(one)], leases=granted)
    await eventually("both are known", lambda: both_known(rig))
    return rig


def both_known(rig: Rig) -> bool:
    mesh = rig.parts.compiled.value.mesh
    return mesh is not None and len(mesh.workloads) == 2


async def test_a_request_that_is_described(mesh: Rig) -> None:
    body = {"from": "page-v1", "url": "http://reviews/x", "headers": {"End-User": "jason"}}
    found = await call(mesh, "POST", "/v1/explain", body)
    assert found["answer"]["outcome"] == "forwarded"
    hop = found["hops"][0]
    assert hop["proxy"] == "page-v1.default"
    assert hop["rule"]["object"] == "Service default/reviews"
    assert hop["rule"]["source"].startswith("api")
    assert hop["cluster"] == "outbound|80||reviews.default.svc.cluster.local"
    assert [one["workload"] for one in hop["endpoints"]] == ["reviews-v1.default"]
    assert {cause["code"] for cause in found["causes"]} == {"proxy-not-connected"}, "no proxy is connected here"
    anybody = await call(mesh, "POST", "/v1/explain", {"to": "reviews", "path": "/x"})
    assert anybody["hops"][0]["proxy"] == "anybody.default"
    by_service = await call(mesh, "POST", "/v1/explain", {"from": "default/reviews", "url": "reviews.default/x"})
    assert by_service["hops"][0]["proxy"] == "reviews-v1.default"


async def test_a_loopback_port_that_leads_to_a_service_is_that_service(mesh: Rig) -> None:
    caller = dataclasses.replace(
        workload("page", 2), upstreams=(Upstream("reviews", 80, SocketAddress("127.0.0.1", 15)),)
    )
    await mesh.store.write([put_workload(caller)], leases=mesh.parts.leases.granted("default/page-v1"))

    async def leads() -> bool:
        found = await call(mesh, "POST", "/v1/explain", {"from": "page-v1", "url": "http://127.0.0.1:15/x"})
        return bool(found["hops"][0]["cluster"] == "outbound|80||reviews.default.svc.cluster.local")

    await eventually("it is known", leads)


async def test_a_connection_that_is_described(mesh: Rig) -> None:
    found = await call(mesh, "POST", "/v1/explain", {"from": "page-v1", "url": "TCP://reviews:80"})
    assert found["answer"]["outcome"] == "refused"
    assert "not-tcp" in {cause["code"] for cause in found["causes"]}
    found = await call(mesh, "POST", "/v1/explain", {"from": "page-v1", "url": "tls://[::1]"})
    assert "'::1' port 443" in found["answer"]["text"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad-body"),
        ({"url": 5}, 400, "bad-body"),
        ({"url": "x" * 9000}, 400, "bad-body"),
        ({"url": "http://a", "headers": {"a": 1}}, 400, "bad-body"),
        ({"url": "http://a", "headers": {str(one): "" for one in range(200)}}, 400, "bad-body"),
        ({"url": "/x"}, 400, "bad-url"),
        ({"url": "ftp://a/x"}, 400, "bad-url"),
        ({"url": "http://a:99999/"}, 400, "bad-url"),
        ({"url": "tcp://a"}, 400, "bad-url"),
        ({"url": "tcp://:80"}, 400, "bad-url"),
        ({"url": "tls://a:99999"}, 400, "bad-url"),
        ({"url": "tcp://a:1/x"}, 400, "bad-url"),
        ({"url": "TCP://[a:1"}, 400, "bad-url"),
        ({"url": "tcp://a:1", "to": "a"}, 400, "bad-url"),
        ({"from": "pgae-v1", "url": "http://reviews"}, 404, "unknown-workload"),
    ],
)
async def test_descriptions_that_cannot_be_used(mesh: Rig, body: dict[str, Any], status: int, code: str) -> None:
    found = await call(mesh, "POST", "/v1/explain", body, status)
    assert found["code"] == code
    if code == "unknown-workload":
        assert "did you mean 'page-v1'?" in found["error"]


async def test_a_request_that_failed_is_listed_and_explained_hop_by_hop(mesh: Rig) -> None:
    inbound = dataclasses.replace(SEEN, time=1000.001, side="inbound", flags="-", details="via_upstream", cluster="")
    slow = dataclasses.replace(SEEN, id="slow", trace="", status=200, flags="-", duration_ms=1500.0)
    assert await report(mesh, "page-v1", SEEN, slow, left_out=3) == {"interval": 2.0, "tap": None, "revoked": ""}
    await report(mesh, "reviews-v1", inbound)
    listed = await call(mesh, "GET", "/v1/requests")
    assert [one["id"] for one in listed["requests"]] == [SEEN.id, SEEN.id, "slow"]
    assert listed["left_out"] == 3
    assert listed["requests"][0]["meaning"] == "the application itself answered so; it was tried 4 times"
    failed = await call(mesh, "GET", "/v1/requests?failed=1&workload=page-v1")
    assert [one["workload"] for one in failed["requests"]] == ["default/page-v1"]
    for query in (f"id={SEEN.id}", f"trace={SEEN.trace}"):
        found = await call(mesh, "GET", f"/v1/requests/explain?{query}")
        assert found["answer"]["outcome"] == "failed"
        assert [hop["proxy"] for hop in found["hops"]][:2] == ["page-v1.default", "reviews-v1.default"]
        first = found["hops"][0]
        assert first["rule"] == {"object": "Service default/reviews", "source": "mesh.yaml:2"}
        assert [one["workload"] for one in first["endpoints"]] == ["reviews-v1.default"]
        codes = {cause["code"] for cause in found["causes"]}
        assert {"connections-fail", "application-error", "retry-storm"} <= codes
    assert (await call(mesh, "GET", "/v1/requests/explain?id=nobody", status=404))["code"] == "unknown-request"
    assert (await call(mesh, "GET", "/v1/requests/explain", status=400))["code"] == "bad-parameter"
    for limit in ("x", "0", "501", "000000001999999", "1" * 5000):
        assert (await call(mesh, "GET", f"/v1/requests?limit={limit}", status=400))["code"] == "bad-parameter"


async def test_only_the_workloads_own_agent_reports_and_what_it_says_is_bounded(mesh: Rig) -> None:
    assert (await report(mesh, "stranger", SEEN, status=404))["code"] == "not-registered"
    evil = dataclasses.replace(SEEN, path="\x1b[31m" * 20, time=1e18)
    await report(mesh, "page-v1", *[evil] * 250)
    listed = await call(mesh, "GET", "/v1/requests?limit=500")
    assert len(listed["requests"]) == 200
    assert listed["left_out"] == 50
    assert all(one["path"].isprintable() for one in listed["requests"])


async def test_an_agent_that_tells_without_end_is_refused(mesh: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await report(mesh, "page-v1")
    monkeypatch.setattr(Pace, "allows", lambda _self, who, _now: who != "default/page-v1")
    assert (await report(mesh, "page-v1", status=429))["code"] == "too-often"
    await report(mesh, "reviews-v1")


async def test_a_tap_is_told_to_agents_and_gives_lines_from_both_sides_until_nobody_watches(mesh: Rig) -> None:
    tapped = dataclasses.replace(
        SEEN, status=200, flags="-", tapped=True, headers=(("x", "1"),), peer="reviews-v1.default"
    )
    other = dataclasses.replace(tapped, side="inbound", peer="page-v1.default")
    stranger = dataclasses.replace(other, peer="else.default")
    async with mesh.session() as session:
        response = await session.get("/v1/tap?workload=page-v1&header=x&rate=7&seconds=60")
        assert response.status == 200
        order = (await report(mesh, "page-v1", tapped))["tap"]
        assert order["filters"] == [{"method": "", "path": "", "status": "", "header": "x", "peer": ""}]
        assert order["rate"] == 7
        assert json.loads(await response.content.readline())["workload"] == "default/page-v1"
        assert (await report(mesh, "reviews-v1", other, stranger))["tap"]["filters"][0]["peer"] == "page-v1.default"
        line = json.loads(await response.content.readline())
        assert (line["workload"], line["side"], line["headers"]) == ("default/reviews-v1", "inbound", {"x": "1"})
        await report(mesh, "page-v1", untapped=9)
        assert json.loads(await response.content.readline()) == {"left_out": 9}
        response.close()
    await eventually("nobody watches", lambda: len(mesh.parts.taps) == 0)
    assert (await report(mesh, "page-v1"))["tap"] is None
    assert (await call(mesh, "GET", "/v1/requests"))["requests"] == [], "what was watched is not kept"


async def test_a_tap_ends_after_its_number_or_its_time(mesh: Rig) -> None:
    tapped = dataclasses.replace(SEEN, tapped=True)
    async with mesh.session() as session:
        response = await session.get("/v1/tap?workload=page-v1&limit=2")
        await report(mesh, "page-v1", tapped, tapped, tapped)
        lines = [json.loads(line) async for line in response.content]
        assert len(lines) == 2
        response = await session.get("/v1/tap?workload=page-v1&seconds=0.1")
        async with asyncio.timeout(60):
            assert all("left_out" in json.loads(line) for line in [one async for one in response.content])
    assert (await call(mesh, "GET", "/v1/tap?workload=nobody", status=404))["code"] == "unknown-workload"
    assert (await call(mesh, "GET", "/v1/tap?workload=page-v1&rate=1000", status=400))["code"] == "bad-parameter"


def test_two_people_watch_one_workload_and_neither_switches_off_the_other() -> None:
    now = [0.0]
    taps = Taps(lambda: now[0])
    first = taps.open("default/a", TapFilter(method="GET"), 5, 10)
    second = taps.open("default/a", TapFilter(), 50, 20)
    order = taps.take("default/a", RequestsReport())
    assert order is not None
    assert (len(order.filters), order.rate) == (2, 50)
    taps.close(second)
    order = taps.take("default/a", RequestsReport())
    assert order is not None
    assert order.rate == 5
    now[0] = 11.0
    assert taps.expired(first)
    assert taps.take("default/a", RequestsReport()) is None


def test_taps_are_bounded() -> None:
    taps = Taps()
    for _ in range(32):
        taps.open("default/a", TapFilter(), 1000, 1e9)
    with pytest.raises(TooManyTapsError):
        taps.open("default/a", TapFilter(), 1, 1)
    tapped = dataclasses.replace(SEEN, tapped=True)
    for _ in range(10):
        taps.take("default/a", RequestsReport((tapped,) * 200))
    one = next(iter(taps._taps.values()))
    assert one.queue.qsize() == 500
    assert one.lost == 1500
