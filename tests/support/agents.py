"""A stand-in for the control plane's agent API, and agents run as processes against it."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import ssl
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from weft.agent.keys import make_key
from weft.agent.state import State, read_state
from weft.ca.authority import Authority
from weft.model.enrolment import CertificateRequest, DrainResponse, RegisterRequest, RegisterResponse, RenewRequest
from weft.model.identity import SpiffeId
from weft.model.workload import Workload, WorkloadState
from weft.processes.name import name_of
from weft.settings.home import Home
from weft.settings.private import make_private_directory
from weft.testing.polling import eventually

AGENT = Path(__file__).parent.parent / "agent" / "agent_process.py"
DEADLINE = 60.0


@dataclass
class FakeControlPlane:
    """The agent API on a unix socket (and TLS on request), with a real CA. Tests read and set its fields."""

    home: Home
    authority: Authority
    ttl: float = 3600.0
    lease: float = 1.5
    tokens: set[str] = field(default_factory=set)
    workloads: dict[str, Workload] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    latest: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    confirm: asyncio.Event | None = None
    refuse: tuple[int, str, str] | None = None
    problems: tuple[str, ...] = ()
    unused_proxy: bool = False
    port: int = 0
    runner: web.AppRunner | None = None

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""

    async def start(self, *, tls: bool = False) -> None:
        application = web.Application()
        one = "/v1/workloads/{namespace}/{name}"
        application.router.add_get("/v1/trust-bundle", self._bundle)
        application.router.add_post("/v1/workloads", self._register)
        application.router.add_post(one + "/lease", self._lease)
        application.router.add_post(one + "/certificate", self._certificate)
        application.router.add_post(one + "/drain", self._drain)
        application.router.add_delete(one, self._delete)
        self.runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self.runner.setup()
        make_private_directory(self.home.agent_socket.parent)
        self.home.agent_socket.unlink(missing_ok=True)
        await web.UnixSite(self.runner, str(self.home.agent_socket)).start()
        if tls:
            site = web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=self._context())
            await site.start()
            self.port = self.runner.addresses[-1][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None
        self.home.agent_socket.unlink(missing_ok=True)

    def _context(self) -> ssl.SSLContext:
        server = self.authority.server_certificate([])
        path = self.home.control_plane / "server.pem"
        path.write_text(server.key + server.chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=server.bundle)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.calls.append(f"{request.method} {request.path}")
        if self.refuse is None:
            return None
        status, code, error = self.refuse
        return web.json_response({"error": error, "code": code}, status=status)

    async def _bundle(self, request: web.Request) -> web.Response:
        return web.Response(text=self.authority.bundle)

    async def _register(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        if tls is not None and not tls.getpeercert():
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.tokens:
                return web.json_response({"error": "bad token", "code": "token-refused"}, status=401)
            self.tokens.remove(token)
        body = msgspec.json.decode(await request.read(), type=RegisterRequest)
        self.workloads[body.workload.proxy] = body.workload
        self._note(body.workload.proxy, body.workload.state)
        issued = self._issue(body.workload, body.csr)
        xds, agents = "127.0.0.1:1", "127.0.0.1:2"
        answer = RegisterResponse(issued, xds, "spiffe://x", "cluster.local", self.lease, agents, self.problems)
        return web.Response(body=msgspec.json.encode(answer))

    def _issue(self, workload: Workload, csr: str) -> Any:
        identity = SpiffeId("cluster.local", workload.namespace, workload.service_account)
        return self.authority.issue(csr, identity, workload.proxy, self.ttl)

    def _known(self, request: web.Request) -> Workload | None:
        return self.workloads.get(_proxy(request))

    def _note(self, proxy: str, state: str) -> None:
        self.states.append(state)
        self.latest[proxy] = state

    async def _lease(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        if self._known(request) is None:
            return web.json_response({"error": "unknown", "code": "not-registered"}, status=404)
        renewal = msgspec.json.decode(await request.read(), type=RenewRequest)
        state, self.unused_proxy = renewal.state, renewal.unused_proxy
        proxy = _proxy(request)
        if state != self.latest.get(proxy):
            self._note(proxy, state)
        return web.json_response({})

    async def _certificate(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        workload = self._known(request)
        if workload is None:
            return web.json_response({"error": "unknown", "code": "not-registered"}, status=404)
        csr = msgspec.json.decode(await request.read(), type=CertificateRequest).csr
        return web.Response(body=msgspec.json.encode(self._issue(workload, csr)))

    async def _drain(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        self._note(_proxy(request), WorkloadState.DRAINING)
        self.drained.set()
        if self.confirm is not None:
            await self.confirm.wait()
        return web.Response(body=msgspec.json.encode(DrainResponse(True, ())))

    async def _delete(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        self.workloads.pop(_proxy(request), None)
        self._note(_proxy(request), "deregistered")
        return web.Response(status=204)


def _proxy(request: web.Request) -> str:
    return f"{request.match_info['name']}.{request.match_info['namespace']}"


@dataclass
class Agent:
    """One agent process."""

    process: asyncio.subprocess.Process
    home: Home
    name: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def directory(self) -> Path:
        return self.home.workload("default", self.name)

    @property
    def state(self) -> State:
        state = read_state(self.directory)
        assert state is not None
        return state

    def text(self) -> str:
        return self.log.read_text()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ended()


@dataclass
class World:
    """A home with its control plane, and agents in it."""

    home: Home
    control_plane: FakeControlPlane
    directory: Path
    agents: list[Agent] = field(default_factory=list)

    async def start(self, name: str = "web", terminal: int | None = None, **asked: object) -> Agent:
        """Start an agent without waiting for it, at the slave side of a `terminal` if there is one."""

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        log = self.directory / f"{name}-{len(self.agents)}.log"
        asked = {"home": str(self.home.root), **({} if "gateway" in asked else {"name": name}), **asked}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(AGENT),
                json.dumps(asked),
                stdin=terminal,
                stderr=output,
                stdout=output,
                start_new_session=True,
                preexec_fn=take_terminal if terminal is not None else None,
            )
        self.agents.append(Agent(process, self.home, name, log))
        return self.agents[-1]

    async def healthy(self, name: str = "web", terminal: int | None = None, **asked: object) -> Agent:
        """Start an agent and wait until its workload is healthy."""
        self.control_plane.latest.pop(f"{name}.default", None)
        agent = await self.start(name, terminal, **asked)
        await eventually(
            "healthy workload",
            lambda: (
                self.control_plane.latest.get(f"{name}.default") == "healthy" or agent.process.returncode is not None
            ),
        )
        assert agent.process.returncode is None, agent.text()
        return agent

    def processes(self) -> list[int]:
        """Every process that has to do with this world, but for the test's own."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes() + (entry / "cwd").readlink().as_posix().encode()
                    if str(self.directory).encode() in words and name_of(int(entry.name)):
                        found.append(int(entry.name))
        return found

    def client(self, proxy: str = "caller.default") -> ssl.SSLContext:
        """A TLS context with a certificate of this mesh."""
        fresh = make_key()
        issued = self.control_plane.authority.issue(fresh.csr, SpiffeId("cluster.local", "default", "caller"), proxy)
        path = self.directory / "client.pem"
        path.write_text(fresh.key + issued.chain)
        context = ssl.create_default_context(cadata=issued.bundle)
        context.check_hostname = False
        context.load_cert_chain(path)
        return context

    async def get(self, agent: Agent, path: str = "/", session: aiohttp.ClientSession | None = None) -> str:
        """Call the workload's inbound port as another workload would."""
        inbound = agent.state.ports[0].inbound
        if session is not None:
            async with session.get(f"https://{inbound}{path}") as response:
                return await response.text()
        connector = aiohttp.TCPConnector(ssl=self.client())
        async with aiohttp.ClientSession(connector=connector) as own:
            return await self.get(agent, path, own)
