"""The window of traffic with real Envoys: seen within seconds, once, through restarts of everything."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.http import Client
from support.mesh import Mesh, until
from support.terminal import CTRL_C, person_at_a_terminal

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nowhere}
spec: {selector: {app: nowhere}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
FAULT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
    - match: [{uri: {prefix: /fault}}]
      fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
      route: [{destination: {host: echo}}]
    - route: [{destination: {host: echo}}]
"""
SERVE = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")


@pytest.fixture
def small(mesh: Mesh) -> Iterator[tuple[Mesh, Client]]:
    """A client and an echo, each with its proxy."""
    mesh.serve(*SERVE)
    mesh.apply(SERVICES + "---" + FAULT)
    mesh.echo("echo-v1", app="echo", wait=False)
    mesh.echo("client", wait=False)
    mesh.wait_healthy("echo-v1", "client")
    client = Client(mesh.proxy_of("client"))
    yield mesh, client
    client.close()


def edges(mesh: Mesh, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mesh.weft("stat", "-o", "json", *words).stdout)
    return found


def requests(mesh: Mesh, destination: str = "default/echo", window: str = "1h") -> int:
    """Requests from the client to a service, as the window has them."""
    return sum(
        edge["requests"]
        for edge in edges(mesh, "--window", window)
        if (edge["source"], edge["destination"]) == ("default/client", destination)
    )


def send(client: Client, count: int, url: str = "http://echo/") -> None:
    for _ in range(count):
        client(url)


def test_calls_are_seen_once_with_how_they_ended_and_by_which_rule(small: tuple[Mesh, Client]) -> None:
    mesh, client = small
    send(client, 10, "http://echo/fault")  # before the proxy has the service's cluster: the fault comes first
    send(client, 30)
    send(client, 5, "http://nowhere/")
    until("all are seen", lambda: requests(mesh) == 40 and requests(mesh, "default/nowhere") == 5)
    found = {edge["destination"]: edge for edge in edges(mesh)}
    echo, nowhere = found["default/echo"], found["default/nowhere"]
    assert echo["success_rate"] == 0.75
    assert echo["codes"] == {"200": 30, "503": 10}
    assert echo["flags"]["FI"] == 10
    assert 0 < echo["p50_ms"] <= echo["p95_ms"] <= echo["p99_ms"]
    assert echo["bytes_received"] > 0
    assert nowhere["success_rate"] == 0.0
    assert nowhere["flags"]["UH"] == 5
    answered = json.loads(mesh.weft("edges", "-o", "json").stdout)
    by_workload = {(edge["destination_workload"], edge["mtls"]): edge["requests"] for edge in answered}
    assert by_workload["default/echo-v1", True] == 30
    table = mesh.weft("stat", "--by", "route").stdout
    assert "VirtualService echo" in table
    assert requests(mesh) == 40, "what both sides tell counts once"
    wrong = mesh.weft("stat", "nowhree", check=False).stderr
    assert "did you mean nowhere" in wrong or "default/nowhere" in wrong


def test_a_new_control_plane_is_told_the_last_hour_and_nothing_counts_twice(small: tuple[Mesh, Client]) -> None:
    mesh, client = small
    send(client, 20)
    until("they are seen", lambda: requests(mesh) == 20)
    mesh.processes["control-plane"].stop(signal.SIGKILL)
    send(client, 7)
    mesh.serve(*SERVE)
    send(client, 3)
    until("all is told again", lambda: requests(mesh) == 30)
    answer = mesh.api("traffic?window=3600")
    assert not answer["complete"]
    assert answer["dropped"] == 0


def test_an_agent_that_was_killed_is_followed_by_one_that_tells_nothing_twice(small: tuple[Mesh, Client]) -> None:
    mesh, client = small
    send(client, 1)
    send(client, 19, "http://echo/fault")  # only the caller's proxy knows of these
    until("they are seen", lambda: requests(mesh) == 20)
    mesh.processes["client"].stop(signal.SIGKILL)
    send(client, 4, "http://echo/fault")  # nobody looks
    mesh.echo("client")

    def known() -> int:
        """Told, or told to be lost: Envoy may add up what is new only after the new one's first look."""
        return requests(mesh) + int(mesh.api("traffic?window=3600")["dropped"])

    until("the four are told, or known to be lost", lambda: known() == 24)
    send(client, 5, "http://echo/fault")
    until("the new one tells", lambda: known() == 29)


def test_an_envoy_that_was_killed_counts_from_nothing(small: tuple[Mesh, Client]) -> None:
    mesh, client = small
    send(client, 20)
    until("they are seen", lambda: requests(mesh) == 20)
    before = mesh.state("client")["envoy"]["pid"]
    os.kill(before, signal.SIGKILL)
    until("there is another", lambda: (mesh.state("client")["envoy"] or {}).get("pid") not in (before, None))
    mesh.wait_healthy("client")
    client.close()
    sent = 0

    def serves() -> bool:
        nonlocal sent
        sent += 1
        return client("http://echo/").status == 200

    until("it serves", serves)
    until("both are counted", lambda: requests(mesh) >= 21)
    assert requests(mesh) <= 20 + sent


def test_a_command_that_lives_for_a_moment_is_seen(small: tuple[Mesh, Client]) -> None:
    mesh, _ = small
    code = (
        "import os, urllib.request as r; "
        "r.build_opener(r.ProxyHandler({'http': os.environ['HTTP_PROXY']})).open('http://echo/').read()"
    )
    done = mesh.run("moment", [sys.executable, "-c", code], port="", wait=False)
    assert done.process.wait(60) == 0, done.output()
    until("its call is seen", lambda: any(edge["source"] == "default/moment" for edge in edges(mesh)))


def test_top_shows_it_live_and_leaves_the_terminal_as_it_was(small: tuple[Mesh, Client]) -> None:
    mesh, client = small
    send(client, 20)
    until("they are seen", lambda: requests(mesh) == 20)
    with person_at_a_terminal({"WEFT_HOME": str(mesh.home)}) as person:
        person.types("stty cols 80 rows 24; stty -g > before\n".replace("before", f"{mesh.logs}/before"))
        person.sees("outer> ")
        for end in ("q", CTRL_C):
            person.types(f"{sys.executable} -m weft.cli.main top\n")
            person.sees(r"\x1b\[\?1049h")
            person.sees(r"SERVICE .*SUCCESS")
            person.sees("echo")
            person.types("b")
            person.sees("WORKLOAD")
            person.types("/nothing\r")
            person.sees("nothing with 'nothing' in its name")
            person.types(end)
            person.sees(r"\x1b\[\?1049l")
            person.sees("outer> ")
        person.types(f"stty -g | diff - {mesh.logs}/before && echo as-it-was\n")
        person.sees(r"\r\nas-it-was")
