"""The root is rotated while requests go on: whole, killed in every phase, taken back; old connections end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from e2e.test_continuity import PORTS, blocking, start, under_load
from support.mesh import Mesh, until
from weft.settings.home import Home

LEASE = ("--lease", "3")
WORKLOADS = ("client", "echo-v1", "echo-v2")
DRAIN_SECONDS = 45.0
"""How long proxies drain connections, as agents start them."""


def ca(mesh: Mesh, *words: str) -> Any:
    return json.loads(mesh.weft("ca", *words, "-o", "json", timeout=200).stdout)


def phase(mesh: Mesh) -> str:
    return str(ca(mesh, "status")["phase"])


def awaited(mesh: Mesh) -> set[str]:
    return {one["workload"] for one in ca(mesh, "status")["awaited"]}


def held(mesh: Mesh, name: str, file: str) -> str:
    path: Path = Home(mesh.home).workload("default", name) / "certs" / "..data" / file
    return path.read_text()


def everywhere(mesh: Mesh, bundle: str) -> None:
    assert Home(mesh.home).trust_bundle.read_text() == bundle
    assert {held(mesh, name, "bundle.pem") for name in WORKLOADS} == {bundle}


def agent(mesh: Mesh, name: str, number: int) -> None:
    os.kill(mesh.processes[name].pid, number)


class Session:
    """A connection of the client's identity to an inbound port, made without its proxy."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        certs = Home(mesh.home).workload("default", "client") / "certs" / "..data"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(certs / "bundle.pem")
        context.load_cert_chain(certs / "chain.pem", certs / "key.pem")
        context.set_alpn_protocols(["http/1.1"])
        inbound = mesh.workload(name)["ports"][0]["inbound"]
        self._socket = context.wrap_socket(socket.create_connection((inbound["host"], inbound["port"]), 10))

    def close(self) -> None:
        self._socket.close()

    def get(self) -> bytes:
        self._socket.settimeout(10)
        self._socket.sendall(b"GET / HTTP/1.1\r\nhost: echo\r\n\r\n")
        return self._socket.recv(65536)

    def closed(self) -> bool:
        self._socket.settimeout(0.1)
        try:
            return self._socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def test_a_whole_rotation_costs_no_request_and_ends_old_connections(mesh: Mesh, tmp_path: Path) -> None:
    start(mesh, *LEASE)
    stolen = tmp_path / "stolen.pem"
    stolen.write_text(held(mesh, "client", "key.pem") + held(mesh, "client", "chain.pem"))
    before, fingerprint = held(mesh, "client", "bundle.pem"), ca(mesh, "status")["fingerprint"]
    with closing(Session(mesh, "echo-v1")) as idle, closing(Session(mesh, "echo-v1")) as used:
        assert b" 200 OK" in idle.get()
        assert b" 200 OK" in used.get()
        _rotate_under_load(mesh, idle, used)

    endpoints = json.loads(Home(mesh.home).endpoints.read_text())
    inbound = mesh.workload("echo-v1")["ports"][0]["inbound"]
    servers = [endpoints[name].rpartition(":") for name in ("xds", "agent_api")]
    ports = [(host, int(port)) for host, _, port in servers] + [(inbound["host"], inbound["port"])]
    refused(stolen, Home(mesh.home).trust_bundle, ports)
    after = ca(mesh, "status")
    assert after["phase"] == "steady"
    assert after["fingerprint"] != fingerprint
    [root] = after["roots"]
    assert root["signs"]
    assert root["trusted"]
    bundle = held(mesh, "client", "bundle.pem")
    assert bundle != before
    everywhere(mesh, bundle)
    with closing(Session(mesh, "echo-v1")) as fresh:
        assert b" 200 OK" in fresh.get()
    assert not [row for row in mesh.items("problems") if row["severity"] == "error"]


def refused(pem: Path, trust: Path, ports: Iterable[tuple[str, int]]) -> None:
    """A certificate of the dropped root opens nothing: no inbound port, not the xDS server, not the agent API."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(trust)
    context.load_cert_chain(pem)
    for host, port in ports:
        with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain) as tls:
            tls.settimeout(10)
            with pytest.raises(OSError):
                tls.sendall(b"GET /v1/trust-bundle HTTP/1.1\r\nhost: localhost\r\n\r\n")
                if not tls.recv(1):
                    raise ConnectionResetError


def _rotate_under_load(mesh: Mesh, idle: Session, used: Session) -> None:
    async def during() -> None:
        told = await asyncio.to_thread(mesh.weft, "ca", "rotate", "--wait", "--timeout", "120", timeout=150)
        text = told.stderr
        assert [word for word in ("trusting:", "issuing:", "dropping:", "steady:") if word not in text] == []
        await blocking(until, "a request over the old connection is its last", lambda: last(used))
        await blocking(until, "and one that is idle is closed", idle.closed, DRAIN_SECONDS + 15)

    load = under_load(mesh, during)
    assert load.sent > 1000
    assert not load.failures, (load.statuses, load.failures[:5])


def last(session: Session) -> bool:
    """Whether the answer to one more request says that the connection ends; it is answered in any case."""
    answer = session.get()
    assert b" 200 OK" in answer
    return b"connection: close" in answer.lower()


@pytest.mark.parametrize("killed_in", ["trusting", "issuing", "dropping"])
def test_a_killed_control_plane_goes_on_where_it_was(mesh: Mesh, killed_in: str) -> None:
    start(mesh, *LEASE)
    before = held(mesh, "client", "bundle.pem")

    def kill_in_phase() -> None:
        if killed_in == "trusting":
            agent(mesh, "echo-v2", signal.SIGSTOP)
        mesh.weft("ca", "rotate", "--overlap", "20")
        if killed_in == "dropping":
            until("renewed", lambda: phase(mesh) == "issuing" and not awaited(mesh), 60)
            agent(mesh, "echo-v2", signal.SIGSTOP)
        until(f"it is in the phase {killed_in}", lambda: phase(mesh) == killed_in, 60)
        if killed_in == "issuing":
            agent(mesh, "echo-v2", signal.SIGSTOP)
        mesh.processes["control-plane"].stop(signal.SIGKILL)
        mesh.serve(*PORTS, *LEASE)
        assert phase(mesh) == killed_in
        until("who is awaited is named", lambda: "default/echo-v2" in awaited(mesh))
        agent(mesh, "echo-v2", signal.SIGCONT)
        until("it has ended", lambda: phase(mesh) == "steady", 90)

    async def during() -> None:
        await blocking(kill_in_phase)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    bundle = held(mesh, "client", "bundle.pem")
    assert bundle.count("BEGIN CERTIFICATE") == 1
    assert bundle != before
    everywhere(mesh, bundle)


@pytest.mark.parametrize("taken_back_in", ["trusting", "issuing"])
def test_a_rotation_is_taken_back(mesh: Mesh, taken_back_in: str) -> None:
    start(mesh, *LEASE)
    before = held(mesh, "client", "bundle.pem")

    def take_back() -> None:
        if taken_back_in == "trusting":
            agent(mesh, "echo-v2", signal.SIGSTOP)
        mesh.weft("ca", "rotate", "--overlap", "60")
        until("it is there", lambda: phase(mesh) == taken_back_in and awaited(mesh) <= {"default/echo-v2"}, 60)
        refused = mesh.weft("ca", "rotate", check=False)
        assert refused.returncode == 1
        assert "a rotation is under way" in refused.stderr
        if taken_back_in == "trusting":
            agent(mesh, "echo-v2", signal.SIGCONT)
        mesh.weft("ca", "abort", "--wait", timeout=120)

    async def during() -> None:
        await blocking(take_back)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    assert phase(mesh) == "steady"
    everywhere(mesh, before)
    late = mesh.weft("ca", "abort", check=False)
    assert late.returncode == 1
    assert "no rotation is under way" in late.stderr
