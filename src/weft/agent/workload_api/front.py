"""The socket of the Workload API: who may connect, and that nothing is loaded before somebody does.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md. gRPC is imported and started with the
first connection; it listens on a second socket beside the first, and bytes go to and fro. Python's gRPC does not tell
who is at the other end of a unix socket: this does, before a byte is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from weft.processes.peer import peer_of
from weft.settings.private import PermissionsError, make_private_directory

_LOG = logging.getLogger(__name__)
CONNECTIONS = 64
_CHUNK = 64 * 1024
_AGAIN = 1.0
"""Seconds, until it is tried again to listen."""
Serve = Callable[[Path], Awaitable[None]]


class WorkloadApiSocket:
    """Listens at `path` (0600). `serve` starts the server at another path, once, and is not waited for before the first
    connection needs it. Both are in `directory`, or in a private one that is made where its name is too long."""

    def __init__(self, path: Path, behind: Path, serve: Serve, directory: Path) -> None:
        self.path = path
        self._behind = behind
        self._others = {path.parent, behind.parent} - {directory}
        self._serve = serve
        self._started: asyncio.Task[None] | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def run(self) -> None:
        """Listen for ever. Where that is not possible, the application goes on without it until it is."""
        server = await self._listening()
        try:
            async with server:
                await server.serve_forever()
        finally:
            connections = [task for task in self._open.values() if task is not None]
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*connections, return_exceptions=True)
            if self._started is not None:
                self._started.cancel()
                await asyncio.gather(self._started, return_exceptions=True)
            for path in (self.path, self._behind):
                path.unlink(missing_ok=True)
            for other in self._others:
                with contextlib.suppress(OSError):  # another workload's sockets are there
                    other.rmdir()

    async def _listening(self) -> asyncio.Server:
        said = ""
        while True:
            try:
                self._make_directories()
                return await asyncio.start_unix_server(self._accept, sock=_bind(self.path))
            except (OSError, PermissionsError) as error:
                if str(error) != said:
                    said = str(error)
                    _LOG.warning("no Workload API at %s yet: %s", self.path, said)
            await asyncio.sleep(_AGAIN)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid, _ = peer_of(writer.get_extra_info("socket"))
        if uid != os.geteuid() or len(self._open) >= CONNECTIONS:
            _LOG.warning("the Workload API refuses %s", f"user {uid}" if uid != os.geteuid() else "more connections")
            writer.close()
            return
        self._open[writer] = asyncio.current_task()
        try:
            await self._start()
            behind, answers = await asyncio.open_unix_connection(str(self._behind))
            await _relay((reader, answers), (behind, writer))
        except (OSError, ImportError, PermissionsError) as error:
            _LOG.warning("the Workload API does not work: %s", error)
        finally:
            del self._open[writer]
            writer.close()

    def _make_directories(self) -> None:
        """Again before each start: workloads share a short one, and whichever ends removes it when it is empty."""
        for other in self._others:
            make_private_directory(other)

    async def _start(self) -> None:
        """Start the server, with the first connection; wait until it listens."""
        if self._started is None or self._started.done():
            self._make_directories()
            self._behind.unlink(missing_ok=True)
            self._started = asyncio.create_task(_served(self._serve, self._behind))
        while not self._behind.exists():
            if self._started.done():
                raise OSError("its server has ended")
            await asyncio.sleep(0.01)


async def _served(serve: Serve, path: Path) -> None:
    try:
        await serve(path)
    except OSError:
        raise  # said by who waits for it
    except Exception:
        _LOG.exception("the Workload API has ended")
        raise


def _bind(path: Path) -> socket.socket:
    """The directory is ours and private, so nobody connects before the mode is set."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
    except BaseException:
        listener.close()
        raise
    return listener


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _relay(*directions: Side) -> None:
    """Bytes in both directions, until either side ends."""
    tasks = [asyncio.create_task(_copy(*direction)) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in directions:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
