"""The agent's parts by themselves: HTTP client, ports, state, where Envoy is."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weft.agent.binary import find_envoy
from weft.agent.envoy import Envoy, NotReadyError
from weft.agent.envoy_place import EnvoyPlace
from weft.agent.errors import AgentError
from weft.agent.http import HttpError, Server, ask
from weft.agent.parameters import ControlPlane, PortParameter, RunParameters, UpstreamParameter
from weft.agent.ports import PortAllocator, allocate_run_ports, allocating, check_free
from weft.agent.sidecar_environment import replaced_proxy, sidecar_environment, upstream_variable
from weft.agent.state import CapturedBy, State, lock_directory, plan_digest, read_state, write_state
from weft.model.workload import SocketAddress
from weft.processes.name import ProcessName, name_of
from weft.settings.home import Home
from weft.settings.ports import own_ports


@pytest.fixture
async def said(tmp_path: Path) -> AsyncIterator[list[bytes]]:
    """What a server on ``tmp_path/s`` will say, piece by piece; an empty piece closes."""
    pieces: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if not pieces:
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        open_now.discard(writer)

    open_now: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    yield pieces
    server.close()
    async with asyncio.timeout(60):
        while open_now:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"llo"], b"hello"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", b"2;x=y\r\nlo\r\n0\r\n\r\n"], b"hello"),
        ([b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"], b"hello"),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"], b""),
        ([b"HTTP/1.0 204 No Content\r\n\r\n"], b""),
    ],
)
async def test_http_answers(tmp_path: Path, said: list[bytes], pieces: list[bytes], body: bytes) -> None:
    said += pieces
    answer = await ask(Server(path=tmp_path / "s"), "GET", "/", timeout=5)
    assert (answer.status, answer.body) == (204 if b"204" in pieces[0] else 200, body)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000],
        [b"HTTP/1.1 abc\r\n\r\n"],
    ],
)
async def test_http_nonsense(tmp_path: Path, said: list[bytes], pieces: list[bytes]) -> None:
    said += pieces
    with pytest.raises((HttpError, ConnectionError)):
        await ask(Server(path=tmp_path / "s"), "GET", "/", timeout=5)


async def test_http_deadline_and_absence(tmp_path: Path, said: list[bytes]) -> None:
    with pytest.raises(TimeoutError):
        await ask(Server(path=tmp_path / "s"), "GET", "/", timeout=0.1)
    with pytest.raises(FileNotFoundError):
        await ask(Server(path=tmp_path / "nobody"), "GET", "/", timeout=1)


def run(home: Home, **changes: object) -> RunParameters:
    parameters = RunParameters(
        home,
        "web",
        ports=(PortParameter(9080, 0), PortParameter(9081), PortParameter(9082, 9999)),
        upstreams=(UpstreamParameter("db", 5432), UpstreamParameter("cache.prod", 6379, 6000)),
    )
    return dataclasses.replace(parameters, **changes)  # type: ignore[arg-type]


def test_ports_are_distinct_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    directory = home.workload("default", "web")
    directory.mkdir(parents=True)
    with allocating(home, directory) as allocator:
        first = allocate_run_ports(run(home), allocator, None)
    assert [port.application.port for port in first.ports][1:] == [9081, 9999]
    chosen = [first.ports[0].application.port, first.outbound, first.upstreams[0].listen.port]
    chosen += [port.inbound.port for port in first.ports]
    assert len(set(chosen)) == 6
    assert all(port in own_ports() for port in chosen)
    assert first.upstreams[1].listen.port == 6000
    write_state(directory, first)
    with allocating(home, directory) as allocator:
        assert allocate_run_ports(run(home), allocator, read_state(directory)) == first
    other = home.workload("default", "other")
    other.mkdir()
    with allocating(home, other) as allocator:
        second = allocate_run_ports(run(home, name="other"), allocator, first)
    assert second.outbound != first.outbound, "another workload holds it, though nobody listens"


def test_a_port_in_use_is_not_given_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert PortAllocator(set()).free("127.0.0.1", port) != port
    assert PortAllocator(set()).free("127.0.0.1", port) == port


def test_a_chosen_port_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    allocator = PortAllocator(set())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AgentError, match=f"--upstream db:5432={port}: port {port} of 127.0.0.1 is taken"):
            allocate_run_ports(run(home, upstreams=(UpstreamParameter("db", 5432, port),)), allocator, None)
        with pytest.raises(AgentError, match=f"--listen 80={port}: port {port} of 127.0.0.1 is taken"):
            check_free("127.0.0.1", port, f"--listen 80={port}")
    twice = (UpstreamParameter("db", 5432, port), UpstreamParameter("cache", 6379, port))
    with pytest.raises(AgentError, match="taken by --upstream db:5432"):
        allocate_run_ports(run(home, upstreams=twice), allocator, None)
    with pytest.raises(AgentError, match="--port 80 is given twice"):
        allocate_run_ports(run(home, ports=(PortParameter(80), PortParameter(80, 0))), allocator, None)
    with pytest.raises(AgentError, match="two ports are called http"):
        named = (PortParameter(80, name="http"), PortParameter(81, name="http"))
        allocate_run_ports(run(home, ports=named), allocator, None)


def test_the_environment_of_a_captured_application_has_no_proxy(tmp_path: Path) -> None:
    home = Home(tmp_path)
    state = allocate_run_ports(run(home), PortAllocator(set()), None)
    inherited = {"PATH": "/bin", "http_proxy": "http://proxy.corp:3128", "HTTPS_PROXY": "http://proxy.corp:3128"}
    environment = sidecar_environment(inherited, dataclasses.replace(state, captured_by=CapturedBy.SECCOMP))
    assert {name for name in environment if "PROXY" in name.upper()} == {"HTTPS_PROXY"}
    assert environment["WEFT_PORT_9082"] == "9999"


def test_the_environment_leads_through_the_sidecar(tmp_path: Path) -> None:
    home = Home(tmp_path)
    state = allocate_run_ports(run(home), PortAllocator(set()), None)
    inherited = {"PATH": "/bin", "HOST": "here", "HTTP_PROXY": "http://proxy.corp:3128"}
    assert replaced_proxy(inherited) == "HTTP_PROXY"
    assert replaced_proxy({"HTTPS_PROXY": "http://proxy.corp:3128"}) == ""
    environment = sidecar_environment(inherited, state, (("PORT", "1"),))
    assert (environment["PATH"], environment["HOST"]) == ("/bin", "here")
    proxies = {environment[name] for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy", "ws_proxy")}
    assert proxies == {f"http://127.0.0.1:{state.outbound}"}
    assert not {"HTTPS_PROXY", "https_proxy"} & set(environment)
    assert environment["NODE_USE_ENV_PROXY"] == "1"
    assert sidecar_environment({"NODE_USE_ENV_PROXY": "0"}, state)["NODE_USE_ENV_PROXY"] == "0"
    assert environment["WEFT_HOST"] == "127.0.0.1"
    assert environment["WEFT_PORT_9082"] == "9999"
    assert environment["PORT"] == "1", "what the user sets wins"
    assert environment[upstream_variable("cache.prod", 6379)] == "127.0.0.1:6000"
    assert upstream_variable("cache.prod", 6379) == "WEFT_UPSTREAM_CACHE_PROD_6379"


def test_what_was_called_without_a_proxy_still_is_unless_it_may_be_a_service(tmp_path: Path) -> None:
    state = allocate_run_ports(run(Home(tmp_path)), PortAllocator(set()), None)
    services = "reviews,*,.svc,svc,.cluster.local,local,.svc.cluster.local,ratings.prod.svc"
    outside = ".corp.example,git.corp.example:8443,10.0.0.0/8,fd00::1,*.internal.example"
    environment = sidecar_environment({"NO_PROXY": f"{services},{outside}", "no_proxy": "localhost, a.example"}, state)
    expected = f"localhost,127.0.0.1,::1,{outside},a.example"
    assert environment["NO_PROXY"] == environment["no_proxy"] == expected


def test_state_survives_and_nonsense_is_no_state(tmp_path: Path) -> None:
    state = State("web", "default", plan=plan_digest("a"), agent=name_of(os.getpid()))
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    (tmp_path / "state.json").write_text("{half")
    assert read_state(tmp_path) is None
    assert plan_digest("a", ("b",)) != plan_digest("a", ("c",))


def test_one_lock_per_directory(tmp_path: Path) -> None:
    lock = lock_directory(tmp_path, "workload default/web")
    with pytest.raises(AgentError, match="workload default/web is already running"):
        lock_directory(tmp_path, "workload default/web")
    lock.release()
    lock_directory(tmp_path, "workload default/web").release()


def test_envoy_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = find_envoy()
    assert found.is_absolute()
    assert os.access(found, os.X_OK)
    own = tmp_path / "my-envoy"
    own.write_text("#!/bin/sh\necho nothing\n")
    own.chmod(0o755)
    monkeypatch.setenv("WEFT_ENVOY", str(own))
    assert find_envoy() == own
    monkeypatch.setenv("WEFT_ENVOY", str(tmp_path / "none"))
    with pytest.raises(AgentError, match="WEFT_ENVOY"):
        find_envoy()


@pytest.mark.parametrize(("workers", "said"), [(1, "--concurrency 1"), (3, "--concurrency 3"), (0, "")])
def test_envoy_is_started_with_its_worker_threads(workers: int, said: str, tmp_path: Path) -> None:
    """Where it is for Envoy to say, which knows the cores that it may use, nothing is said."""
    command = " ".join(EnvoyPlace(tmp_path / "envoy", tmp_path, tmp_path / "a.sock").command(workers, None))
    assert said in command
    assert ("--concurrency" in command) is bool(said)


async def test_an_envoy_that_is_slow_to_be_configured_is_waited_for(tmp_path: Path) -> None:
    admin = tmp_path / "a.sock"
    bootstrap = {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}}
    (tmp_path / "bootstrap.json").write_text(json.dumps(bootstrap))
    names: list[ProcessName | None] = []
    envoy = Envoy(EnvoyPlace(find_envoy(), tmp_path, admin), lambda now: names.append(now.envoy), lambda: 2)
    envoy.start()
    await envoy.wait_ready((), 15)
    running = asyncio.create_task(envoy.run((), 0.05))
    assert names[0] is not None
    os.kill(names[0].pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await envoy.ready.changed(2)  # ready, not ready, ready again
    assert envoy.ready.value
    await envoy.stop(5)
    await running
    assert [name is None for name in names] == [False, True, False, True]
    assert not admin.exists()


async def test_missing_listeners_are_named(tmp_path: Path) -> None:
    admin = tmp_path / "a.sock"
    bootstrap = {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}}
    (tmp_path / "bootstrap.json").write_text(json.dumps(bootstrap))
    envoy = Envoy(EnvoyPlace(find_envoy(), tmp_path, admin), lambda _: None, lambda: 0)
    envoy.start()
    await envoy.wait_ready((), 60)
    with pytest.raises(NotReadyError, match=r"does not listen on 127\.0\.0\.1:4"):
        await envoy.wait_ready((SocketAddress("127.0.0.1", 4),), 3)
    await envoy.stop(5)


def test_no_token_in_representations() -> None:
    assert "weft-secret" not in repr(ControlPlane("h:1", "sha256:00", "weft-secret"))
