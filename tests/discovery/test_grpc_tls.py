"""TLS 1.2 is shut out before gRPC is loaded, or not at all, and then nothing is served."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("program", "code"),
    [("from weft.discovery.grpc_tls import grpc", 0), ("import grpc; import weft.discovery.grpc_tls", 1)],
    ids=["first", "too late"],
)
def test_the_setting_is_in_place_or_the_import_fails(program: str, code: int) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stderr
    if code:
        assert "gRPC was loaded before weft could shut TLS 1.2 out" in done.stderr
