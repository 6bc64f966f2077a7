"""A port turns from HTTP to TCP and back under load: nobody's call fails, however it is made."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from support.mesh import APPS, Mesh, until

_CALL_SECONDS = 15.0
_PAUSE, _CALLERS = 0.05, 2
"""Seconds between two calls of a caller, and how many of these there are for each way to call: some 200 calls a second
where the machine has nothing else to do, and no bursts where it has."""
_LONGEST = 120.0
_KEPT_SECONDS = 20.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: PROTOCOL-web, port: 80, targetPort: 8080}]}
"""
CLIENT = """
---
apiVersion: v1
kind: Service
metadata: {name: client}
spec: {selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: tcp, port: 81, protocol: TCP}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front, sectionName: tcp}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front, sectionName: http}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"""
MODE = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: MODE}}
"""
GET = b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n"
PROXIED = GET.replace(b"/ ", b"http://echo/ ", 1)


def service(protocol: str) -> str:
    """The service whose port says that it speaks this; empty: it says nothing."""
    return SERVICE.replace("PROTOCOL-", f"{protocol}-" if protocol else "")


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two instances of echo, and two callers: one that is told what it uses, one that is told what it asks for."""
    root = tmp_path_factory.mktemp("turning")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(service("http") + CLIENT + GATEWAY)
        mesh.echo("caller", more=["--upstream", "echo:80", "--uses", "echo"], wait=False)
        mesh.echo("asking", more=["--upstream", "echo:80"], wait=False)
        for name in ("echo-1", "echo-2"):
            mesh.run(name, [sys.executable, str(APPS / "http_versions.py")], app="echo", wait=False)
        mesh.gateway("front", "80=auto", "81=auto")
        mesh.wait_healthy("caller", "asking", "echo-1", "echo-2")
        yield mesh
    finally:
        mesh.stop()


@dataclass
class Calls:
    """What became of the calls of each kind."""

    good: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[float, str, bytes]] = field(default_factory=list)

    def note(self, kind: str, began: float, answer: bytes) -> None:
        """One answer, whole, to a call that began then."""
        if answer.startswith(b"HTTP/1.1 200"):
            self.good[kind] += 1
        else:
            self.failed.append((began, kind, answer[:200]))


Call = Callable[[], Awaitable[bytes]]
Opening = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def tunnel(proxy: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection by CONNECT."""
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(b"CONNECT echo:80 HTTP/1.1\r\nHost: echo:80\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        return reader, writer
    writer.close()
    raise ConnectionError(head.decode())


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The head of one answer, when all of it is there."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head


async def single(opening: Opening, request: bytes = GET) -> bytes:
    """A request in a connection of its own."""
    reader, writer = await opening()
    try:
        writer.write(request)
        return await answer(reader)
    finally:
        writer.close()


class Kept:
    """Requests one after the other in a connection that is kept for as long as the answers do not say that it ends, and
    not so long that a proxy ends it whose listener has changed."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._opened: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._until = 0.0

    async def __call__(self) -> bytes:
        if self._opened is not None and time.monotonic() > self._until:
            self.close()
        if self._opened is None:
            self._opened, self._until = await self._opening(), time.monotonic() + _KEPT_SECONDS
        reader, writer = self._opened
        self._opened = None
        try:
            writer.write(GET.replace(b"Connection: close\r\n", b""))
            head = await answer(reader)
            if b"connection: close" not in head.lower():
                self._opened = reader, writer
            return head
        finally:
            if self._opened is None:
                writer.close()

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


@asynccontextmanager
async def steady(calls: Calls, callers: Sequence[tuple[str, Call]]) -> AsyncIterator[None]:
    """Each of the callers, all at once, calls again and again for as long as the body takes (at most two minutes)."""
    stop = asyncio.Event()

    async def again_and_again(kind: str, call: Call) -> None:
        end = time.monotonic() + _LONGEST
        while not stop.is_set() and time.monotonic() < end:
            began = time.time()
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    answered = await call()
            except (OSError, EOFError, TimeoutError) as error:
                answered = repr(error).encode()
            calls.note(kind, began, answered)
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(again_and_again(*caller))
        try:
            yield
        finally:
            stop.set()


def upstream(mesh: Mesh, name: str) -> tuple[str, int]:
    """The loopback port of a workload that leads to echo."""
    [found] = [each["listen"] for each in mesh.workload(name)["upstreams"]]
    return found["host"], found["port"]


def answers(mesh: Mesh) -> bool:
    """Whether echo answers the caller that asks for what it calls."""
    opening = partial(asyncio.open_connection, *upstream(mesh, "asking"))
    return asyncio.run(single(opening)).startswith(b"HTTP/1.1 200")


def turn_under_load(mesh: Mesh, protocols: tuple[str, ...]) -> None:
    """Turn the port of echo through `protocols` while it is called in every way."""
    calls = Calls()
    callers: list[tuple[str, Call]] = []
    for port, address in mesh.workload("front")["gateway"]["ports"]:
        at_gateway = partial(asyncio.open_connection, address["host"], address["port"])
        callers.append((f"client of the gateway at {port}", partial(single, at_gateway)))
    kept: list[tuple[str, Kept]] = []
    for name in ("caller", "asking"):
        proxy = mesh.proxy_of(name)
        opened = partial(asyncio.open_connection, *proxy)
        callers.append((f"{name} by HTTP_PROXY", partial(single, opened, PROXIED)))
        for way, opening in (
            ("CONNECT", partial(tunnel, proxy)),
            ("--upstream", partial(asyncio.open_connection, *upstream(mesh, name))),
        ):
            callers.append((f"{name} by {way}", partial(single, opening)))
            kept.append((f"{name} by {way}, kept", Kept(opening)))

    async def run() -> None:
        async with steady(calls, [*callers * _CALLERS, *kept]):
            for protocol in protocols:
                await asyncio.to_thread(mesh.apply, service(protocol))
                await asyncio.sleep(0.3)
        for _, each in kept:
            each.close()

    asyncio.run(run())
    assert not calls.failed, (calls.good, Counter((kind, answer) for _, kind, answer in calls.failed), calls.failed[:5])
    assert len(calls.good) == len(callers) + len(kept)
    assert min(calls.good.values()) > 15


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
def test_turning_a_port_from_http_to_tcp_and_back_costs_no_call(turned: Mesh, mode: str) -> None:
    turned.apply(service("http") + MODE.replace("MODE", mode))
    until("it answers", lambda: answers(turned))
    turn_under_load(turned, ("tcp", "http") * 3)


@pytest.mark.parametrize(
    "protocols",
    [("tcp", "grpc") * 2, ("", "tcp", "", "http"), ("grpc", "http") * 2, ("", "grpc", "", "http")],
    ids=["grpc", "nothing", "versions", "detected"],
)
def test_turning_it_to_anything_else_and_back_costs_no_call(turned: Mesh, protocols: tuple[str, ...]) -> None:
    turned.apply(service(protocols[-1]) + MODE.replace("MODE", "STRICT"))
    until("it answers", lambda: answers(turned))
    turn_under_load(turned, protocols)
