"""The walk-through is true: its functions are there, and its example goes through them in the order of the page."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from support.control import TOKEN, Rig, running_control
from weft.cli.main import weft
from weft.discovery.peer import Peer
from weft.model.identity import SpiffeId
from weft.model.workload import SocketAddress, Workload
from weft.sources.workloads import put_workload
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "walk-through.md").read_text(encoding="utf-8")
NAME = re.compile(r"`((?:\w+\.)+\w+)`")
CALLER = Workload(name="caller", namespace="default", service_account="caller", outbound=SocketAddress("127.0.0.1", 1))


def hops(*headings: str) -> list[str]:
    """The first column of the tables in these sections (the start of a heading is enough)."""
    found: list[str] = []
    for section in re.split(r"^## ", PAGE, flags=re.M):
        if section.startswith(headings):
            found += re.findall(r"^\| `([\w.]+)` \|", section, flags=re.M)
    return found


def resolved(name: str) -> Any:
    """The object that a dotted name below `weft` stands for. LookupError if there is none."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(("weft", *words[:count])))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            thing = inspect.getattr_static(thing, word, None)
        if thing is not None:
            return thing
        break
    raise LookupError(f"{name} is not there (any more)")


def code_of(name: str) -> CodeType:
    """The code of a function, a method, or the function behind a command."""
    thing = resolved(name)
    thing = inspect.unwrap(getattr(thing, "callback", thing))
    code = thing.__code__
    assert isinstance(code, CodeType)
    return code


@dataclass
class Trace:
    """Which of some functions are entered, in order, by whatever thread."""

    names: dict[CodeType, str]
    entered: list[str] = field(default_factory=list)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (name := self.names.get(frame.f_code)):
            self.entered.append(name)


@pytest.fixture
def trace() -> Iterator[Trace]:
    found = Trace({code_of(name): name for name in hops("In by", "From the collector", "Back to")})
    before = sys.getprofile()
    threading.setprofile(found)
    sys.setprofile(found)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


@dataclass
class Proxy:
    """An Envoy that confirms everything. `routes` is the version of the route configuration `outbound` it holds."""

    responses: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    requests: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    routes: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        for type_url in (CLUSTER, LISTENER):
            await self._ask(type_url=type_url)
        await self._ask(type_url=ROUTES, resource_names_subscribe=["outbound"])
        while True:
            response = DeltaDiscoveryResponse.FromString(await self.responses.get())
            await self._ask(type_url=response.type_url, response_nonce=response.nonce)
            for resource in response.resources:
                if resource.name == "outbound":
                    self.routes = resource.version
                    self.changed.set()

    async def _ask(self, **fields: Any) -> None:
        await self.requests.put(DeltaDiscoveryRequest(**fields).SerializeToString())

    async def next_routes(self) -> None:
        """Wait for routes that it did not hold: until pytest's own time limit, which who debugs takes away."""
        await self.changed.wait()
        self.changed.clear()


@pytest.fixture
async def rig(trace: Trace, tmp_path: Path) -> AsyncIterator[Rig]:
    """A control plane that knows the Service of the page and its caller. It depends on the trace: threads that are
    started before are not seen."""
    async with running_control(tmp_path) as rig:
        service = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)[0]
        (rig.files / "service.yaml").write_text(service)
        await rig.store.write([put_workload(CALLER)])
        collected = rig.parts.collector.collected
        async with asyncio.timeout(60):
            while not (collected.value.snapshot.documents and collected.value.snapshot.workloads):
                await collected.changed(collected.version)
        yield rig


@pytest.fixture
async def proxy(rig: Rig) -> AsyncIterator[Proxy]:
    """The caller's proxy, connected, with everything there is so far."""
    hub = rig.parts.hub
    revision = rig.parts.collector.snapshot.revision
    await hub.wait_revision(revision, 10)
    identity = SpiffeId("cluster.local", "default", "caller")
    stream = hub.attach(Peer(CALLER.proxy, identity, float("inf")), CALLER, delta=True)
    envoy = Proxy()
    tasks = [
        asyncio.create_task(stream.run(envoy.requests.get, envoy.responses.put)),
        asyncio.create_task(envoy.run()),
    ]
    try:
        await envoy.next_routes()
        await hub.settled(10)
        yield envoy
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        hub.detach(stream)


def assert_in_order(entered: list[str], expected: list[str]) -> None:
    """Each expected name is entered, after the one before it."""
    assert expected
    rest = iter(entered)
    for place, name in enumerate(expected):
        after = f"after {expected[place - 1]}" if place else "at all"
        assert name in rest, f"{name} is not entered {after}; see docs/walk-through.md"


def test_every_name_of_the_page_is_there() -> None:
    names = set(NAME.findall(PAGE)) - {"reviews.default.svc.cluster.local"}
    assert len(names) > 30
    for name in names:
        resolved(name)


async def test_a_route_goes_from_the_file_to_the_ack_as_the_page_says(rig: Rig, proxy: Proxy, trace: Trace) -> None:
    trace.entered.clear()
    (rig.files / "route.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)[1])
    await proxy.next_routes()
    await rig.parts.hub.settled(10)
    assert_in_order(trace.entered, hops("In by a followed file", "From the collector"))


async def test_a_route_goes_from_weft_apply_to_the_ack_as_the_page_says(
    rig: Rig, proxy: Proxy, trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = f'{{"admin": "{rig.admin}", "xds": "", "agent_api": "", "agent_socket": "", "pid": {os.getpid()}}}'
    rig.home.endpoints.write_text(endpoints)
    rig.home.admin_token.write_text(TOKEN)
    route = tmp_path / "route.yaml"
    route.write_text(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)[1])
    trace.entered.clear()
    words = ["apply", "-f", str(route), "--wait", "--home", str(rig.home.root)]
    assert await asyncio.to_thread(weft.main, words, standalone_mode=False) == 0
    assert "confirmed by 1 proxy" in capsys.readouterr().err
    assert_in_order(trace.entered, hops("In by `weft apply`", "From the collector", "Back to"))
