"""An agent under a service manager: what it tells of itself, over a real socket, and what its application sees."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from support.agents import World
from support.manager import Manager
from support.mesh import Mesh
from weft.testing.polling import eventually

APPLICATION = [sys.executable, str(Path(__file__).with_name("application.py"))]


@pytest.fixture
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Manager:
    made = Manager(tmp_path / "notify")
    request.addfinalizer(made.close)
    return made


async def test_an_agent_tells_of_each_step(world: World, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(world.directory / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    agent = await world.start(command=APPLICATION, ports=[[9080, 0]])
    await eventually("it is ready", lambda: manager.told("READY=1") == 1)
    await eventually("signs of life", lambda: manager.told("WATCHDOG=1") > 3)
    application = agent.state.application
    assert application is not None
    environment = await asyncio.to_thread(Path(f"/proc/{application.pid}/environ").read_bytes)
    assert b"NOTIFY_SOCKET" not in environment
    assert b"WATCHDOG_USEC" not in environment
    agent.process.send_signal(signal.SIGHUP)
    await eventually("it is ready again", lambda: manager.told("READY=1") == 2)
    assert manager.told("RELOADING=1") == 1
    await agent.stop()
    assert manager.told("STOPPING=1") == 1
    steps = [line for line in manager.lines if line in {"READY=1", "RELOADING=1", "STOPPING=1"}]
    assert steps == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


async def test_a_control_plane_is_ready_when_it_answers(tmp_path: Path, manager: Manager) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    ports = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
    try:
        mesh.spawn("control-plane", "serve", *ports, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        await eventually("it is ready", lambda: manager.told("READY=1") == 1)
        assert await asyncio.to_thread(mesh.api, "health")
    finally:
        await asyncio.to_thread(mesh.stop)
    assert manager.told("STOPPING=1") == 1
