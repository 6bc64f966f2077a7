"""A mesh in a temporary directory: control plane, sidecars and gateways as real processes, for the length of a test.

@pytest.fixture(scope="session")
def mesh():
    with running_mesh(Path("weft.yaml")) as mesh:
        yield mesh
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weft.local.client import AdminClient, Source
from weft.local.command_line import interpreter
from weft.settings.home import Home

_STOP_SECONDS = 60.0


class MeshDidNotStartError(Exception):
    """The mesh did not start; the text is what `weft up` said, with the end of the log that tells more."""


class RunningMesh:
    """A mesh that is up. `facts` are what ``weft up -o json`` printed: addresses and process ids."""

    def __init__(self, home: Home, facts: dict[str, Any]) -> None:
        self.home = home
        self.facts = facts
        self.client = AdminClient(home, here=True)

    def gateway(self, name: str, listener: int = 80) -> str:
        """``HOST:PORT`` of a gateway's listener."""
        return str(urlsplit(self.facts["gateways"][name][str(listener)]).netloc)

    def apply(self, text: str, *, source: str = "test", wait: float = 30.0) -> dict[str, Any]:
        """Apply documents and wait until every proxy concerned has confirmed them. Raises RefusedError with problems,
        TimeoutError when a proxy did not confirm, ValueError when one refused."""
        return _confirmed(self.client.apply(Source(source, text), wait=wait))

    def delete(self, kind: str, name: str, *, namespace: str = "default", wait: float = 30.0) -> dict[str, Any]:
        """Delete a document and wait until every proxy concerned has confirmed. Errors as for `apply`."""
        return _confirmed(self.client.delete(kind, namespace, name, wait=wait))


def _confirmed(answer: dict[str, Any]) -> dict[str, Any]:
    wait = answer["wait"]
    if wait["nacked"]:
        raise ValueError("; ".join(f"{nack['proxy']} refused it: {nack['message']}" for nack in wait["nacked"]))
    if wait["pending"]:
        raise TimeoutError(f"not confirmed by {', '.join(wait['pending'])}")
    if wait.get("untried"):
        raise TimeoutError(f"not tried on an Envoy in time: {', '.join(wait['untried'])}")
    return answer


@contextlib.contextmanager
def running_mesh(meshfile: Path, *, timeout: float = 60.0) -> Iterator[RunningMesh]:
    """Start the mesh of a weft.yaml, stop it at the end and leave nothing behind. Raises MeshDidNotStartError."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="weft-test-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        home = Home(directory / "home")
        log = directory / "up.log"
        words = [*interpreter(), "up", "-o", "json", "--home", str(home.root), "-f", str(meshfile)]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*words, "--timeout", f"{timeout:g}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        stack.callback(_stop, process)
        line = _first_line(process, timeout + 10)
        if not line:
            raise MeshDidNotStartError(_story(log, home))
        facts = json.loads(line)
        if any(one["state"] == "crashed" for one in facts["processes"]):
            raise MeshDidNotStartError(_story(log, home))
        yield RunningMesh(home, facts)


def _story(log: Path, home: Home) -> str:
    """What `weft up` said, and the last words of each Envoy."""
    found = [log.read_text("utf-8", "replace")]
    for envoy in sorted(home.root.glob("workloads/*/*/envoy.log")):
        if lines := envoy.read_text("utf-8", "replace").splitlines()[-5:]:
            found.append("\n".join((f"--- Envoy of {envoy.parent.name} ---", *lines)))
    return "\n".join(found)


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    if process.stdout is None:
        return b""
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else b""


def _stop(process: subprocess.Popen[bytes]) -> None:
    with process:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            sys.stderr.write("weft up did not stop in time and was killed\n")
