"""The socket of the Workload API: nothing is started before somebody comes, and a start that fails is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weft.agent.workload_api import front
from weft.agent.workload_api.front import WorkloadApiSocket
from weft.testing.polling import eventually


class Server:
    """Stands behind the socket: says what it hears in capitals."""

    def __init__(self) -> None:
        self.starts = 0
        self.failures = 0

    async def serve(self, path: Path) -> None:
        self.starts += 1
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")

        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1000):
                writer.write(data.upper())
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(shout, str(path))
        async with server:
            await server.serve_forever()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Path, Server]]:
    server = Server()
    short = tmp_path / "short"
    api = WorkloadApiSocket(tmp_path / "workload.sock", short / "behind.sock", server.serve, tmp_path)
    task = asyncio.create_task(api.run())
    await eventually("it listens", api.path.exists)
    yield api.path, server
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def said(path: Path, text: bytes) -> bytes:
    """What comes back; nothing if the connection is closed."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(text)
            return await asyncio.wait_for(reader.read(1000), 60)
        return b""
    finally:
        writer.close()


async def test_the_server_starts_with_the_first_connection(running: tuple[Path, Server]) -> None:
    path, server = running
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.starts == 0
    assert set(await asyncio.gather(said(path, b"one"), said(path, b"two"))) == {b"ONE", b"TWO"}
    assert server.starts == 1


async def test_a_start_that_fails_is_tried_again(running: tuple[Path, Server]) -> None:
    path, server = running
    server.failures = 1
    assert await said(path, b"one") == b""
    assert await said(path, b"two") == b"TWO"
    assert server.starts == 2


async def test_the_second_sockets_directory_may_have_gone(running: tuple[Path, Server]) -> None:
    """Workloads whose paths are too long share one, and each that ends removes it when it is empty."""
    path, server = running
    (path.parent / "short").rmdir()
    assert await said(path, b"one") == b"ONE"
    assert server.starts == 1


async def test_what_keeps_it_from_listening_may_pass(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("no directory")
    server = Server()
    api = WorkloadApiSocket(tmp_path / "workload.sock", tmp_path / "short/behind.sock", server.serve, tmp_path)
    task = asyncio.create_task(api.run())
    await asyncio.sleep(0)
    assert not api.path.exists()
    (tmp_path / "short").unlink()
    await eventually("it listens", api.path.exists)
    assert await said(api.path, b"one") == b"ONE"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_other_users_and_too_many_are_refused(
    running: tuple[Path, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, server = running
    monkeypatch.setattr(front, "peer_of", lambda _: (os.geteuid() + 1, 1))
    assert await said(path, b"one") == b""
    assert server.starts == 0
    monkeypatch.undo()
    monkeypatch.setattr(front, "CONNECTIONS", 1)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"one")
    assert await reader.read(1000) == b"ONE"
    assert await said(path, b"two") == b""
    writer.close()
    await eventually("there is room again", lambda: answers(path))


async def answers(path: Path) -> bool:
    return await said(path, b"x") == b"X"


def test_an_agent_imports_neither_grpc_nor_the_library_for_tokens() -> None:
    script = "import weft.agent.run, weft.agent.gateway, sys; print(sorted({'grpc', 'jwt'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
