"""Agents as processes, with a real Envoy and a stand-in for the control plane."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.agents import FakeControlPlane, World
from weft.ca.authority import open_authority
from weft.settings.home import Home


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    control_plane = FakeControlPlane(home, open_authority(home.ca))
    await control_plane.start()
    world = World(home, control_plane, tmp_path)
    yield world
    for agent in world.agents:
        if agent.process.returncode is None:
            agent.process.kill()
            await agent.process.wait()
    for pid in world.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await control_plane.stop()
