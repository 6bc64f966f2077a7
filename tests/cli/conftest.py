"""A home, and a control plane that answers what a test wants."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.admin_server import Admin
from weft.settings.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    home.control_plane.mkdir(parents=True)
    monkeypatch.setenv("WEFT_HOME", str(home.root))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def admin(home: Home) -> Iterator[Admin]:
    server = Admin()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    home.admin_token.write_text("secret\n")
    home.endpoints.write_text(
        json.dumps(
            {
                "admin": f"http://127.0.0.1:{server.server_address[1]}",
                "xds": "127.0.0.1:1",
                "agent_api": "127.0.0.1:2",
                "agent_socket": "x",
                "pid": os.getpid(),
            }
        )
    )
    yield server
    server.shutdown()
    server.server_close()
