"""`weft run` as a process, with a real Envoy: start, traffic, exit codes, signals, ordered stop."""

import asyncio
import json
import os
import pty
import shlex
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from support.agents import World
from weft.model.workload import WorkloadState
from weft.settings.home import Home
from weft.testing.polling import eventually

APPLICATION = [sys.executable, str(Path(__file__).with_name("application.py"))]
AUTO = [[9080, 0]]
PRIVATE = 0o077


async def test_start_serve_and_ordered_stop(world: World) -> None:
    agent = await world.healthy(
        command=[*APPLICATION, "graceful"], ports=AUTO, upstreams=[["ratings-db", 5432]], service_account="web"
    )
    assert world.control_plane.states == ["starting", "healthy"]
    workload = world.control_plane.workloads["web.default"]
    environment = json.loads(await world.get(agent, "/env"))
    port = workload.ports[0]
    assert environment["PORT"] == environment["WEFT_PORT_9080"] == str(port.application.port)
    assert environment["HTTP_PROXY"] == environment["http_proxy"] == f"http://{workload.outbound}"
    assert environment["WEFT_UPSTREAM_RATINGS_DB_5432"] == str(workload.upstreams[0].listen)
    assert "127.0.0.1" in environment["NO_PROXY"]
    for path in (agent.directory, *agent.directory.rglob("*")):
        if not path.is_symlink():
            assert not path.stat().st_mode & PRIVATE, path
    assert await agent.stop() == 3
    assert world.control_plane.states == ["starting", "healthy", "draining", "deregistered"]
    assert world.processes() == []
    left = {path.name for path in agent.directory.iterdir()}
    assert left == {"lock", "state.json", "envoy.log"}


async def test_ports_stay_over_a_restart(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    ports = first.state.ports
    assert await first.stop() == 128 + signal.SIGTERM
    world.control_plane.states.clear()
    second = await world.healthy(command=APPLICATION, ports=AUTO)
    assert second.state.ports == ports
    assert await second.stop(signal.SIGINT) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "code"),
    [("import sys; sys.exit(5)", 5), ("pass", 0), ("import os; os.kill(os.getpid(), 9)", 137)],
)
async def test_the_exit_code_is_the_applications(world: World, script: str, code: int) -> None:
    agent = await world.start(command=[sys.executable, "-c", script])
    assert await agent.ended() == code
    assert world.control_plane.state == "deregistered"
    assert world.processes() == []


async def test_programs_that_cannot_start(world: World) -> None:
    agent = await world.start(command=["/no/such/program"])
    assert await agent.ended() == 127
    assert "cannot start /no/such/program" in agent.text()
    script = world.directory / "plain"
    script.write_text("hello")
    agent = await world.start(command=[str(script)])
    assert await agent.ended() == 126
    assert world.processes() == []


async def test_a_stranger_on_the_applications_port_is_told(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        agent = await world.start(command=["sleep", "600"], ports=[[port]])
        assert await agent.ended() == 1
        assert f"--port {port}: another process listens on 127.0.0.1:{port} already" in agent.text()
    assert world.processes() == []


async def test_requests_in_flight_finish_before_the_stop(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    world.control_plane.confirm = asyncio.Event()
    request = asyncio.create_task(world.get(agent, "/slow/1.5"))

    async def begun() -> bool:
        return bool(json.loads(await world.get(agent, "/begun")))

    await eventually("the request is under way", begun)
    agent.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(world.control_plane.drained.wait(), 60)
    assert await world.get(agent, "/") == "ok", "callers that have not confirmed are still served"
    world.control_plane.confirm.set()
    assert await request == "ok"
    assert await agent.ended() == 143


async def test_a_second_signal_hurries(world: World) -> None:
    agent = await world.healthy(command=[*APPLICATION, "ignore-term"], ports=AUTO, timing={"drain": 600, "grace": 600})
    world.control_plane.confirm = asyncio.Event()
    agent.process.send_signal(signal.SIGINT)
    await asyncio.wait_for(world.control_plane.drained.wait(), 60)
    agent.process.send_signal(signal.SIGINT)
    assert await agent.ended() == 137
    assert world.processes() == []


async def test_an_application_that_ignores_sigterm_is_killed(world: World) -> None:
    agent = await world.healthy(command=[*APPLICATION, "ignore-term"], ports=AUTO, timing={"grace": 0.3})
    assert await agent.stop() == 137


async def test_signals_are_passed_on(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    agent.process.send_signal(signal.SIGUSR1)

    async def told() -> bool:
        return bool(json.loads(await world.get(agent, "/signals")) == [signal.SIGUSR1])

    await eventually("the application has the signal", told)
    await agent.stop()


async def test_closing_the_terminal_stops(world: World) -> None:
    master, slave = pty.openpty()
    agent = await world.healthy(terminal=slave, command=[*APPLICATION, "graceful"], ports=AUTO)
    os.close(slave)
    os.kill(agent.pid, signal.SIGHUP)
    await eventually("a restart while the terminal is there", lambda: "took over" in agent.text())
    os.close(master)
    assert await agent.ended() == 3
    assert world.processes() == []


async def test_grandchildren_do_not_stay(world: World) -> None:
    command = ["sh", "-c", f"sleep 987 & exec {shlex.join(APPLICATION)}; cd {world.directory}"]
    agent = await world.healthy(command=command, ports=AUTO, directory=str(world.directory))
    assert len(world.processes()) >= 4
    await agent.stop()
    assert world.processes() == []


async def test_health_follows_the_application(world: World) -> None:
    health = {"kind": "http", "interval": 0.1, "timeout": 0.5, "unhealthy_after": 2}
    agent = await world.healthy(command=APPLICATION, ports=AUTO, health=health)
    application = agent.state.application
    assert application is not None
    os.kill(application.pid, signal.SIGSTOP)
    await eventually("unhealthy", lambda: world.control_plane.state == "unhealthy")
    os.kill(application.pid, signal.SIGCONT)
    await eventually("healthy again", lambda: world.control_plane.state == "healthy")
    assert agent.state.state is WorkloadState.HEALTHY
    await agent.stop()


async def test_an_application_at_another_port_is_told(world: World) -> None:
    agent = await world.start(command=[sys.executable, "-c", "import time; time.sleep(600)"], ports=AUTO)
    await eventually(
        "a word about the port", lambda: "not healthy after 5 s: nothing listens at 127.0.0.1:" in agent.text()
    )
    assert world.control_plane.states == ["starting"]
    await agent.stop()


async def test_the_start_says_which_names_are_unknown(world: World) -> None:
    world.control_plane.problems = ("it uses 'ratinsg', which is no service",)
    agent = await world.healthy(command=APPLICATION, ports=AUTO, uses=["ratinsg"])
    assert "it uses 'ratinsg', which is no service" in agent.text()
    assert await agent.stop() == 128 + signal.SIGTERM


async def test_a_second_agent_of_one_name_says_so(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    second = await world.start(command=APPLICATION, ports=AUTO)
    assert await second.ended() == 1
    assert f"workload default/web is already running (pid {agent.pid})" in second.text()
    assert await world.get(agent, "/") == "ok"
    await agent.stop()


async def test_envoy_is_restarted(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    envoy = agent.state.envoy
    assert envoy is not None
    os.kill(envoy.pid, signal.SIGKILL)
    await eventually("unhealthy, then healthy", lambda: world.control_plane.states[-2:] == ["unhealthy", "healthy"])
    assert agent.state.envoy not in (None, envoy)
    assert await world.get(agent, "/") == "ok"
    await agent.stop()


async def test_an_envoy_that_cannot_start_is_explained(world: World) -> None:
    agent = await world.start(command=APPLICATION, ports=AUTO, bootstrap="broken")
    assert await agent.ended() == 1
    assert "Envoy ended while it started" in agent.text()
    assert "no_such_field" in agent.text()
    assert world.control_plane.state == "deregistered"
    assert world.processes() == []


async def test_refusal_and_absence_of_the_control_plane(world: World) -> None:
    world.control_plane.refuse = (403, "reserved-identity", "this identity is the control plane's own")
    agent = await world.start(command=APPLICATION, ports=AUTO)
    assert await agent.ended() == 1
    assert "this identity is the control plane's own" in agent.text()
    world.control_plane.refuse = None
    await world.control_plane.stop()
    agent = await world.start(command=APPLICATION, ports=AUTO, timing={"wait": 0.5})
    assert await agent.ended() == 4
    agent = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("a word about waiting", lambda: "waiting for it" in agent.text())
    await world.control_plane.start()
    await eventually("healthy once it is there", lambda: world.control_plane.state == "healthy")
    await agent.stop()


@pytest.mark.parametrize("moment", ["lock", "bootstrap.json", "admin.sock", "application"])
async def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing(world: World, moment: str) -> None:
    agent = await world.start(command=APPLICATION, ports=AUTO)

    def reached() -> bool:
        if moment == "application":
            return (agent.directory / "state.json").exists() and agent.state.application is not None
        path = agent.directory / moment
        if path.suffix == ".sock":  # elsewhere where the path is too long for a socket
            path = Home(agent.directory.parents[2]).socket(path)
        return path.exists()

    await eventually(moment, reached)
    assert await agent.stop(signal.SIGINT) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert world.processes() == []
    assert not any(path.suffix in (".sock", ".pem") for path in agent.directory.rglob("*"))


async def test_no_hang_when_the_control_plane_is_gone(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    await world.control_plane.stop()
    assert await agent.stop() == 143
    assert world.processes() == []


async def test_gateway(world: World) -> None:
    agent = await world.start("edge", gateway="edge", listen=[[80, 0]])
    await eventually("healthy gateway", lambda: world.control_plane.state == "healthy")
    workload = world.control_plane.workloads["edge.default"]
    assert workload.service_account == "edge"
    assert workload.gateway is not None
    where = workload.gateway.bind(80)
    assert where.port != 80
    await eventually("the address", lambda: f"listening on {where}" in agent.text())
    async with aiohttp.ClientSession() as session, session.get(f"http://{where}/") as response:
        assert response.status == 503
    assert await agent.stop(signal.SIGINT) == 128 + signal.SIGINT
    assert world.processes() == []
