"""Metrics over OTLP: how an agent pushes them. What they say is read by a real collector in tests/e2e."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from weft.agent.metrics.families import Family, Sample
from weft.agent.metrics.push import OtlpPush
from weft.model.series import Peer
from weft.model.telemetry import MetricPush
from weft.testing.polling import eventually

OWN = Peer("reviews-v2", "shop", "reviews", "v2", "spiffe://cluster.local/ns/shop/sa/reviews")
FAMILIES = (Family("istio_requests_total", "counter", "Requests.", (Sample((("response_code", "200"),), 7),)),)


class Receiver:
    """An OTLP/HTTP receiver."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[tuple[str, bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp unpacks it
        assert request.headers["Content-Type"] == "application/x-protobuf"
        assert request.headers["Content-Encoding"] == "gzip"
        with contextlib.suppress(OSError):
            body = gzip.decompress(body)
        assert b"istio_requests_total" in body
        self.taken.append((request.path, body))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{tail:.*}", receiver.take)
    async with TestServer(application) as server:
        yield receiver, f"http://127.0.0.1:{server.port}"


@dataclass
class Wanted:
    """What documents ask for, and how often it was looked at."""

    push: MetricPush | None
    looks: int = 0

    def look(self) -> MetricPush | None:
        self.looks += 1
        return self.push


async def families() -> tuple[Family, ...]:
    return FAMILIES


@contextlib.asynccontextmanager
async def pushing(wanted: Wanted) -> AsyncIterator[None]:
    task = asyncio.create_task(OtlpPush(wanted.look, families, lambda: OWN, look=0.02, longest=60.0).run())
    yield
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_agent_pushes_while_documents_ask_for_it(receiver: tuple[Receiver, str]) -> None:
    found, url = receiver
    wanted = Wanted(push=None)
    async with pushing(wanted):
        wanted.push = MetricPush(url, 0.05)
        await eventually("twice", lambda: len(found.taken) >= 2)
        assert {path for path, _ in found.taken} == {"/v1/metrics"}
        wanted.push = MetricPush(f"{url}/otlp/v1/metrics", 0.05)
        await eventually("at a path of its own", lambda: found.taken[-1][0] == "/otlp/v1/metrics")
        wanted.push = None
        looks = wanted.looks
        await eventually("it has looked", lambda: wanted.looks >= looks + 2)
        count = len(found.taken)
        await eventually("it has looked often", lambda: wanted.looks >= looks + 10)
        assert len(found.taken) == count


async def test_what_goes_wrong_is_said_once_and_again_when_it_works(
    receiver: tuple[Receiver, str], caplog: pytest.LogCaptureFixture
) -> None:
    found, url = receiver
    found.status = 503
    wanted = Wanted(push=MetricPush(url, 0.02))
    caplog.set_level(logging.INFO)
    async with pushing(wanted):
        await eventually("thrice", lambda: len(found.taken) >= 3)
        found.status = 200
        await eventually("it is said", lambda: "again" in caplog.text.split("trying again")[-1])
    told = [record.getMessage() for record in caplog.records if record.name.startswith("weft")]
    assert told == [
        f"metrics cannot be sent to {url}: it answered 503; trying again",
        f"metrics are sent to {url} again",
    ]


async def test_nobody_there_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wanted = Wanted(push=MetricPush("http://127.0.0.1:1", 0.02))
    async with pushing(wanted):
        await eventually("it is said", lambda: "cannot be sent" in caplog.text)
