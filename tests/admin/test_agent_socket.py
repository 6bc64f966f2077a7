"""The socket of the agent API: who may come in by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from admin.test_agent_api import Agent
from support.control import Rig
from weft.admin import callers


async def test_the_socket_is_private(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rig.home.agent_socket.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(callers, "peer_of", lambda _: (4242, 1))
    assert (await Agent(rig, tmp_path, local=True).register(status=403))["code"] == "wrong-user"
