"""Registries for tests: small servers that answer as Consul and Nomad do, SRV records, a file, and Consul itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import dns.message
import dns.rrset
from aiohttp import web
from tools.consul import NotBuiltError, program

from support.envoy import free_port
from support.name_server import failing, upstream
from weft.sources.imports.settings import ImportSettings, import_from_text


@dataclass(frozen=True)
class Given:
    """An instance as a test gives it to a registry."""

    port: int
    address: str = "127.0.0.1"
    tags: tuple[str, ...] = ()
    meta: tuple[tuple[str, str], ...] = ()


Services = dict[str, list[Given]]
Breakage = Callable[[], Awaitable[None]]


class RegistryCase(Protocol):
    """One registry of a test."""

    settings: ImportSettings

    @property
    def nonsense(self) -> tuple[Breakage, ...]:
        """What makes it answer with nonsense, or with more than is read, until `put`."""

    async def put(self, services: Services) -> None:
        """These are all it holds now."""

    async def away(self) -> None:
        """It does not answer."""

    async def back(self) -> None:
        """It does again, with what it held."""


@dataclass
class SmallServer:
    """Blocking queries as Consul and Nomad have them. `shape` gives an answer for a path, None where there is none;
    `said` is what was asked: paths, queries and headers."""

    shape: Callable[[str, Services], Any]
    header: str
    services: Services = field(default_factory=dict)
    index: int = 10
    body: bytes | None = None
    status: int = 200
    leader: bool = True
    said: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    port: int = 0
    runner: web.AppRunner | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        async with self.changed:
            self.said.append((request.path, dict(request.query), dict(request.headers)))
            self.changed.notify_all()
        wanted = int(request.query.get("index", "0"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(request.query.get("wait", "0s").removesuffix("s"))):
                async with self.changed:
                    await self.changed.wait_for(lambda: wanted == 0 or self.index != wanted or self.body is not None)
        found = self.shape(request.path, self.services)
        body = self.body if self.body is not None else json.dumps(found).encode()
        headers = {self.header: str(self.index), self.header.replace("Index", "KnownLeader"): str(self.leader).lower()}
        if wanted and self.header == "X-Consul-Index" and "/health/" in request.path and self.leader:
            headers |= {"X-Consul-KnownLeader": "false", "X-Consul-Query-Backend": "streaming"}  # as a real one does
        return web.Response(status=self.status, body=body, headers=headers)

    async def change(self, **members: Any) -> None:
        async with self.changed:
            for name, value in members.items():
                setattr(self, name, value)
            self.index += 1
            self.changed.notify_all()

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("GET", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(application, shutdown_timeout=0.01)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


def consul_shape(path: str, services: Services) -> Any:
    """As Consul 1.15 answers; read from a real one."""
    if path == "/v1/catalog/services":
        return {"consul": []} | {name: sorted({t for one in held for t in one.tags}) for name, held in services.items()}
    return [
        {
            "Node": {"ID": "5f1e", "Node": "n1", "Address": "10.1.2.3", "Datacenter": "dc1", "Meta": {}},
            "Service": {
                "Kind": "",
                "ID": f"{path.rpartition('/')[2]}-{one.port}",
                "Service": path.rpartition("/")[2],
                "Tags": list(one.tags),
                "Address": one.address,
                "Port": one.port,
                "Meta": dict(one.meta),
                "Weights": {"Passing": 1, "Warning": 1},
                "CreateIndex": 12,
            },
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
        }
        for one in services.get(path.rpartition("/")[2], [])
    ]


def nomad_shape(path: str, services: Services) -> Any:
    """As Nomad's API documents it."""
    if path == "/v1/services":
        listed = [
            {"ServiceName": name, "Tags": sorted({t for one in held for t in one.tags})}
            for name, held in services.items()
        ]
        return [{"Namespace": "default", "Services": listed}]
    name = path.rpartition("/")[2]
    return [
        {
            "ID": f"_nomad-task-5bbe-{name}-{one.port}",
            "ServiceName": name,
            "Namespace": "default",
            "NodeID": "7406e90b",
            "Datacenter": "dc1",
            "JobID": "shop",
            "AllocID": "5bbe0cf5",
            "Tags": [*one.tags, *(f"{key}={value}" for key, value in one.meta)],
            "Address": one.address,
            "Port": one.port,
            "CreateIndex": 18,
            "ModifyIndex": 18,
        }
        for one in services.get(name, [])
    ]


@dataclass
class HttpCase:
    """A small server as a case."""

    server: SmallServer
    settings: ImportSettings

    @property
    def nonsense(self) -> tuple[Breakage, ...]:
        return self.garbage, self.huge

    async def put(self, services: Services) -> None:
        await self.server.change(services=services, body=None)

    async def away(self) -> None:
        await self.server.stop()

    async def back(self) -> None:
        await self.server.start()

    async def garbage(self) -> None:
        await self.server.change(body=b'{"web": "this is not a catalogue", "Services": 7} or JSON')

    async def huge(self) -> None:
        await self.server.change(body=b"[" + b" " * (5 * 1024 * 1024) + b"]")


@contextlib.asynccontextmanager
async def small_server(kind: str, options: str = "") -> AsyncIterator[HttpCase]:
    """One that runs."""
    shapes = {"consul": (consul_shape, "X-Consul-Index"), "nomad": (nomad_shape, "X-Nomad-Index")}
    server = SmallServer(*shapes[kind])
    await server.start()
    text = f"{kind}=http://127.0.0.1:{server.port}?networks=127.0.0.0/8{options}"
    try:
        yield HttpCase(server, import_from_text(text, Path()))
    finally:
        await server.stop()


@dataclass
class ConsulCase:
    """Consul's own program, in memory."""

    settings: ImportSettings
    address: str
    start: Callable[[], Any]
    process: asyncio.subprocess.Process | None = None
    held: Services = field(default_factory=dict)
    nonsense: tuple[Breakage, ...] = ()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self.address}/v1/{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
            assert response.status == 200, (path, await response.text())
            return await response.json(content_type=None)

    async def put(self, services: Services) -> None:
        wanted = {f"{name}-{one.port}" for name, held in services.items() for one in held}
        for identity in set(await self.call("GET", "agent/services")) - wanted:
            await self.call("PUT", f"agent/service/deregister/{identity}")
        for name, held in services.items():
            for one in held:
                body = {"ID": f"{name}-{one.port}", "Name": name, "Address": one.address, "Port": one.port}
                body |= {"Tags": list(one.tags), "Meta": dict(one.meta)}
                await self.call("PUT", "agent/service/register", body)
        self.held = services

    async def away(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def back(self) -> None:
        self.process = await self.start()
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError, AssertionError):
                    if await self.call("GET", "status/leader"):
                        break
                await asyncio.sleep(0.1)
        await self.put(self.held)


def has_consul() -> bool:
    """Whether `./run consul` has built it. That takes six minutes, for which CI has no room."""
    try:
        return program("consul").is_file()
    except NotBuiltError:
        return False


@contextlib.asynccontextmanager
async def real_consul(directory: Path) -> AsyncIterator[ConsulCase]:
    """The real one, which `has_consul`."""
    path: Path = program("consul")
    port = free_port()
    used = {f"-{name}-port={free_port()}" for name in ("serf-lan", "serf-wan", "server")}
    off = [f"-{name}-port=-1" for name in ("dns", "grpc", "grpc-tls", "https")]
    words = ["-dev", "-bind=127.0.0.1", "-client=127.0.0.1", f"-http-port={port}", *sorted(used), *off]
    words += ["-disable-host-node-id", "-log-level=warn"]

    async def start() -> asyncio.subprocess.Process:
        with (directory / "consul.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(path, *words, stdout=log, stderr=log, cwd=directory)

    address = f"http://127.0.0.1:{port}"
    case = ConsulCase(import_from_text(f"consul={address}?networks=127.0.0.0/8", directory), address, start)
    try:
        await case.back()
        yield case
    finally:
        await case.away()


@dataclass
class DnsCase:
    """A name server as a case."""

    server: Any
    settings: ImportSettings
    services: Services = field(default_factory=dict)
    nonsense: tuple[Breakage, ...] = ()

    def reply(self, query: bytes) -> list[bytes]:
        response = dns.message.make_response(dns.message.from_wire(query))
        name = response.question[0].name
        first = name.labels[0].decode().removeprefix("_")
        if str(name).startswith("_"):
            records = [
                f"1 {one.port % 7} {one.port} {first}-{one.port}.example." for one in self.services.get(first, [])
            ]
            kind = "SRV"
        else:
            service, _, port = first.rpartition("-")
            held = [one for one in self.services.get(service, []) if str(one.port) == port]
            records, kind = [one.address for one in held], "A"
        if response.question[0].rdtype.name == kind and records:
            response.answer.append(dns.rrset.from_text(name, 1, "IN", kind, *records))
        return [response.to_wire()]

    async def put(self, services: Services) -> None:
        self.services = services

    async def away(self) -> None:
        self.server.reply = failing(2)

    async def back(self) -> None:
        self.server.reply = self.reply


@contextlib.asynccontextmanager
async def name_server() -> AsyncIterator[DnsCase]:
    """One that answers with a TTL of a second."""
    async with upstream() as server:
        host, port = server.address
        text = f"dns=_web._tcp.example,_db._tcp.example?server={host}:{port}&networks=127.0.0.0/8&poll=0.2"
        case = DnsCase(server, import_from_text(text, Path()))
        server.reply = case.reply
        yield case


@dataclass
class FileCase:
    """A file as a case."""

    path: Path
    settings: ImportSettings
    text: str = ""

    @property
    def nonsense(self) -> tuple[Breakage, ...]:
        return self.garbage, self.huge

    def _write(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    async def put(self, services: Services) -> None:
        def of(one: Given) -> dict[str, Any]:
            labels = dict(tag.split("=") for tag in one.tags) | {
                name: value for name, value in one.meta if not name.startswith("weft-")
            }
            return {"address": one.address, "port": one.port, "labels": labels}

        said = {name: dict(one.meta) for name, held in services.items() for one in held}
        found = [
            {
                "name": name,
                "instances": [of(one) for one in held],
                "port": int(said.get(name, {}).get("weft-port", 0)),
                "protocol": said.get(name, {}).get("weft-protocol", ""),
            }
            for name, held in services.items()
        ]
        self.text = json.dumps({"services": found})
        self._write(self.text)

    async def away(self) -> None:
        self.path.unlink()

    async def back(self) -> None:
        self._write(self.text)

    async def garbage(self) -> None:
        self._write("services: {web: [not, a, list]}")

    async def huge(self) -> None:
        self._write(" " * (9 * 1024 * 1024))


@contextlib.asynccontextmanager
async def instances_file(directory: Path) -> AsyncIterator[FileCase]:
    """An empty one."""
    path = directory / "instances.json"
    case = FileCase(path, import_from_text(f"file={path.name}?networks=127.0.0.0/8", directory))
    await case.put({})
    yield case


def elsewhere(settings: ImportSettings, **changes: Any) -> ImportSettings:
    """Settings with some other words."""
    return replace(settings, **changes)
