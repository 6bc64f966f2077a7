"""The control plane's metrics and the list of what Prometheus may scrape: what is told, and to whom."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from support.control import TOKEN, Rig
from support.meshdocs import service, workload
from weft.admin.api import admin_application
from weft.admin.callers import proxy_of
from weft.admin.metrics import metrics_application
from weft.admin.server import serving
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.instruments import Instruments
from weft.model.identity import SpiffeId
from weft.model.workload import SocketAddress
from weft.sources.workloads import put_workload
from weft.telemetry.metrics import text_of

READER = "the-reader-token"


def with_instruments(rig: Rig, **changes: Any) -> Any:
    instruments = Instruments()
    return replace(rig.parts, registry=instruments.registry, answered=instruments.answered, **changes)


@asynccontextmanager
async def client(application: Any, **headers: str) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application), headers=headers) as found:
        yield found


async def test_what_is_counted_and_read_is_told_in_prometheus_text(rig: Rig) -> None:
    async with rig.session() as session:
        await session.post("/v1/documents", params={"wait": "5"}, data=service("page"))
    async with client(admin_application(with_instruments(rig), TOKEN, READER), Authorization=f"Bearer {TOKEN}") as one:
        assert (await one.get("/v1/nowhere")).status == 404
        response = await one.get("/v1/metrics")
        text = await response.text()
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in ("weft_documents 1", "weft_services 1", 'weft_api_requests_total{api="admin",code="404"} 1'):
        assert line in text.splitlines()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert {
        "weft_xds_pushes_total",
        "weft_xds_convergence_seconds",
        "weft_xds_nacks_total",
        "weft_build_seconds",
        "weft_store_seconds",
        "weft_event_loop_lag_seconds",
        "weft_certificates_issued_total",
        "weft_certificate_expiry_timestamp_seconds",
        "weft_refusals_total",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    } <= names


async def test_prometheus_own_linter_has_nothing_to_say(rig: Rig) -> None:
    parts = with_instruments(rig)
    parts.audit.refused("somebody", "admin GET /", "wrong-token", "no")
    async with client(metrics_application(parts, READER, tls=False)) as one:
        text = await (await one.get("/metrics")).text()
    found = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


async def test_a_readers_token_opens_the_metrics_and_the_targets_and_nothing_else(rig: Rig) -> None:
    application = admin_application(with_instruments(rig), TOKEN, READER)
    async with client(application, Authorization=f"Bearer {READER}") as one:
        for path in ("/v1/metrics", "/v1/prometheus/targets"):
            assert (await one.get(path)).status == 200
        for path in ("/v1/documents", "/v1/tokens", "/v1/openapi.json", "/v1/graph"):
            response = await one.get(path)
            assert (response.status, (await response.json())["code"]) == (401, "wrong-token")
        assert (await one.post("/v1/documents", data="")).status == 401
        assert (await one.post("/v1/metrics", data="")).status in (401, 405)


async def test_without_a_reader_an_empty_token_opens_nothing(rig: Rig) -> None:
    async with client(admin_application(with_instruments(rig), TOKEN), Authorization="Bearer ") as one:
        assert (await one.get("/v1/metrics")).status == 401


async def test_the_targets_are_those_that_have_an_address_for_it(rig: Rig) -> None:
    scraped = workload("reviews", "v2", metrics=SocketAddress("10.0.0.7", 15020))
    near = workload("ratings", number=2, metrics=SocketAddress("127.0.0.1", 15021))
    silent = workload("page", number=3)
    entries = [put_workload(one) for one in (scraped, near, silent)]
    keys = {f"default/{one.name}": 2e9 for one in (scraped, near, silent)}
    revision = await rig.store.write(entries, leases=keys)
    await rig.parts.collector.included(revision)
    parts = with_instruments(rig, metrics=SocketAddress("127.0.0.1", 15014))
    async with client(metrics_application(parts, READER, tls=False), Authorization=f"Bearer {READER}") as one:
        response = await one.get("/v1/prometheus/targets")
        found = {entry["targets"][0]: entry["labels"] for entry in await response.json()}
    assert response.content_type == "application/json"
    assert found.keys() == {"127.0.0.1:15014", "127.0.0.1:15021", "10.0.0.7:15020"}
    assert found["10.0.0.7:15020"] == {
        "__scheme__": "https",
        "__metrics_path__": "/metrics",
        "component": "proxy",
        "namespace": "default",
        "workload": "reviews-v2",
        "app": "reviews",
        "version": "v2",
    }
    assert found["127.0.0.1:15021"]["__scheme__"] == "http"
    assert found["127.0.0.1:15014"]["component"] == "control-plane"


async def test_on_loopback_the_metrics_are_open_and_the_targets_are_not(rig: Rig) -> None:
    parts = with_instruments(rig)
    async with client(metrics_application(parts, READER, tls=False)) as one:
        assert (await one.get("/metrics")).status == 200
        assert (await one.get("/v1/health")).status == 200
        refused = await one.get("/v1/prometheus/targets")
        assert refused.status == 401
        assert "control-plane/prometheus.token" in (await refused.json())["error"]
        refused = await one.get("/metrics", headers={"Host": "evil.example"})
        assert (refused.status, (await refused.json())["code"]) == (403, "foreign-host")
        refused = await one.get("/metrics", headers={"Origin": "http://evil.example"})
        assert refused.status == 403
    assert [event.object or event.action for event in await rig.audited()][:1]
    text = text_of(parts.registry.families())
    assert 'weft_api_requests_total{api="metrics",code="403"} 2' in text


async def test_over_tls_a_certificate_of_the_mesh_or_a_readers_token_is_needed(rig: Rig, tmp_path: Path) -> None:
    parts = with_instruments(rig)
    authority = parts.authority
    certificates = ServerCertificates(authority, (), rig.home.control_plane, 3600)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    own = authority.server_certificate(())
    (tmp_path / "key.pem").write_text(own.key)
    (tmp_path / "chain.pem").write_text(own.chain)
    assert isinstance(own.identity, SpiffeId)
    mine = ssl.create_default_context(cadata=authority.bundle)
    mine.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    anybody = ssl.create_default_context(cadata=authority.bundle)
    application = metrics_application(parts, READER, tls=True)
    async with serving(application, listener, certificates.tls, identify=proxy_of), aiohttp.ClientSession(url) as http:

        async def status(path: str, context: ssl.SSLContext, **headers: str) -> int:
            async with http.get(path, ssl=context, headers=headers) as response:
                return response.status

        for path in ("/metrics", "/v1/prometheus/targets"):
            assert await status(path, anybody) == 401
            assert await status(path, anybody, Authorization=f"Bearer {READER}") == 200
            assert await status(path, anybody, Authorization="Bearer wrong") == 401
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(application, listener, certificates.tls, identify=proxy_of), aiohttp.ClientSession(url) as http:
        for path in ("/metrics", "/v1/prometheus/targets"):
            async with http.get(path, ssl=mine) as response:
                assert response.status == 200
