"""Where sockets are, whatever the length of what is above them."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from weft.settings.home import Home


@pytest.mark.parametrize("depth", [1, 60, 90, 150], ids=lambda depth: f"{depth} characters more")
def test_a_socket_can_be_made_below_any_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    temporary = tmp_path / ("t" * depth)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    home = Home(temporary / "home")
    path = home.up_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
