"""Clusters on demand: a proxy is told about a service when it first needs it, and no request fails for that."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from support.http import Answer, Client, steady_load
from support.mesh import Mesh, until
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home
from weft.xds.limits import ON_DEMAND_SECONDS

PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
NAMES = ("first", "many", "connected", "named", "copied", "copies", "web")
OTHERS = ("kept", "known", "unknown", "ruled", "old", "new", "divided")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: echo}}, ports: [{{name: {port}, port: {number}, targetPort: 8080}}]}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {name}}}]
  rules:
    - filters: [{filters}]
      backendRefs: [{{name: {backend}, port: 80}}]
"""
MIRROR = "{type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}}}"
STEP = '{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: step, value: "{}"}}]}}}}'
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ruled}
spec: {host: ruled, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""


SUBSET = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: divided}
spec: {host: divided, subsets: [{name: all, labels: {app: echo}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: divided}
spec: {hosts: [divided], http: [{route: [{destination: {host: divided, subset: all}}]}]}
"""


def service(name: str, port: str = "http", number: int = 80) -> str:
    """A Service of its own that the one echo serves."""
    return SERVICE.format(name=name, port=port, number=number)


def route(name: str, filters: str = "", backend: str = "") -> str:
    """The HTTPRoute of a service."""
    return ROUTE.format(name=name, filters=filters, backend=backend or name)


DOCUMENTS = "---".join(
    [
        *map(service, (*NAMES, *OTHERS)),
        service("stream", "tcp", 7000),
        service("tunnel", "tcp", 7001),
        route("copied", MIRROR),
    ]
)
IDLE = [sys.executable, "-c", "import signal; signal.pause()"]
WORKLOADS = {
    "caller": ("--upstream", "stream:7000", "--upstream", "web:80"),
    "narrow": ("--uses", "named", "--uses", "ruled"),
    "wide": ("--scope", "all"),
}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One echo behind many services, and callers of each scope. Each test has services of its own."""
    root = tmp_path_factory.mktemp("asking")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve(*PORTS)
        mesh.apply(DOCUMENTS)
        mesh.echo("echo", wait=False)
        for name, more in WORKLOADS.items():
            mesh.run(name, IDLE, port="", more=more, wait=False)
        mesh.wait_healthy("echo", *WORKLOADS)
        yield mesh
    finally:
        mesh.stop()


@pytest.fixture
def caller(asking: Mesh) -> Iterator[Client]:
    """The application of the workload that declares nothing."""
    client = Client(asking.proxy_of("caller"))
    yield client
    client.close()


def told(mesh: Mesh, proxy: str) -> set[str]:
    """The services of whose clusters the control plane has told a proxy."""
    clusters: list[dict[str, Any]] = mesh.api(f"proxies/{proxy}.default/config/clusters")["clusters"]
    return {one["name"].split("|")[3].split(".")[0] for one in clusters if one["name"].startswith("outbound|")}


def gauge(mesh: Mesh, proxy: str, name: str) -> int:
    """A number of a proxy's own Envoy; ValueError if it does not answer."""
    home = Home(mesh.home)
    admin = EnvoyAdmin(home.socket(home.workload("default", proxy) / "admin.sock"))
    found = asyncio.run(admin.gauges(f"^{name}$"))
    if not found:
        raise ValueError(f"{proxy} does not tell {name}")
    return found[name]


def held(mesh: Mesh, proxy: str) -> int:
    """How many clusters a proxy's Envoy has."""
    return gauge(mesh, proxy, "cluster_manager.active_clusters")


def connected(mesh: Mesh, proxy: str) -> bool:
    """Whether a proxy's Envoy has a stream to the control plane, and has taken what it was first given."""
    return gauge(mesh, proxy, "control_plane.connected_state") == 1 and gauge(mesh, proxy, "server.state") == 0


def serve_again(mesh: Mesh) -> None:
    """Start the control plane and wait until the proxies are back."""
    mesh.serve(*PORTS)
    everybody = {f"{name}.default" for name in ("echo", *WORKLOADS)}
    until("all are back", lambda: {one["name"] for one in mesh.items("proxies")} == everybody)


def remembered(mesh: Mesh, proxy: str) -> str:
    """What the store keeps of what a proxy asked for."""
    (path,) = (mesh.home / "control-plane").glob("*.db")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        key = f"{proxy}.default/{proxy}"
        rows = database.execute("SELECT value FROM entries WHERE bucket = 'demand' AND key = ?", (key,))
        return "".join(value.decode() for (value,) in rows)


def test_a_first_request_brings_what_it_needs_and_nothing_else(asking: Mesh, caller: Client) -> None:
    assert "first" not in told(asking, "caller")
    before = held(asking, "caller")
    answer = caller("http://first/", "POST", body=b"x" * 100_000)
    assert (answer.status, answer.json()["size"]) == (200, 100_000)
    assert "first" in told(asking, "caller")
    assert held(asking, "caller") == before + 1
    assert caller("http://first/").status == 200
    assert held(asking, "caller") == before + 1


async def test_fifty_first_requests_at_once(asking: Mesh) -> None:
    host, port = asking.proxy_of("caller")
    assert "many" not in told(asking, "caller")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> int:
            async with session.get("http://many/", proxy=f"http://{host}:{port}") as answer:
                return answer.status

        assert await asyncio.gather(*(one() for _ in range(50))) == [200] * 50


def test_a_service_that_comes_later_goes_and_comes_again(asking: Mesh, caller: Client) -> None:
    assert b"DNS" in caller("http://later/").body
    for _ in range(2):
        asking.apply(service("later"))
        assert caller("http://later/").status == 200
        asking.delete(service("later"))
        assert b"DNS" in caller("http://later/").body, "it is like any other name that is no service"


def test_a_proxy_that_says_what_it_uses_gets_just_that(asking: Mesh) -> None:
    assert told(asking, "narrow") == {"named", "ruled"}
    client = Client(asking.proxy_of("narrow"))
    assert client("http://named/").status == 200
    assert b"DNS" in client("http://first/").body


def test_a_proxy_that_wants_all_gets_all_at_once(asking: Mesh) -> None:
    assert told(asking, "wide") >= {*NAMES, "stream", "tunnel"}
    assert held(asking, "wide") > len(NAMES)
    assert Client(asking.proxy_of("wide"))("http://first/").status == 200


def test_a_copy_arrives_although_nobody_asked_for_where_it_goes(asking: Mesh, caller: Client) -> None:
    assert "copies" in told(asking, "caller")
    assert caller("http://copied/copy").status == 200
    until("the copy is there", lambda: caller("http://named/counts").json()["seen"].get("/copy") == 2)


def test_upstreams_and_tunnels_ask_too(asking: Mesh) -> None:
    assert not {"stream", "tunnel", "web"} & told(asking, "caller")
    for upstream in asking.workload("caller")["upstreams"]:
        where = upstream["listen"]
        assert Client()(f"http://{where['host']}:{where['port']}/").status == 200, upstream
    for target in ("tunnel:7001", "connected:80"):
        with socket.create_connection(asking.proxy_of("caller"), timeout=10) as connection:
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert b" 200 " in connection.recv(1000), target
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert b" 200 " in connection.recv(1000), target
    assert {"stream", "tunnel", "web", "connected"} <= told(asking, "caller")


def test_changes_reach_what_was_asked_for_before_apply_returns(asking: Mesh, caller: Client) -> None:
    assert caller("http://ruled/").status == 200
    for step in "12":
        asking.apply(route("ruled", STEP.format(step)))
        assert caller("http://ruled/").headers.get("step") == step
    before = gauge(asking, "caller", "cluster_manager.cluster_modified")
    asking.apply(RULE)
    assert gauge(asking, "caller", "cluster_manager.cluster_modified") == before + 1
    assert caller("http://ruled/").status == 200


def test_requests_go_elsewhere_before_a_service_is_gone(asking: Mesh) -> None:
    """At once, a route leads to another service and the former one is gone: nobody looks for that any more."""
    host, port = asking.proxy_of("caller")
    asking.apply(service("entry") + "---" + route("entry", backend="old"))

    def change(old: str, new: str) -> None:
        asking.api("documents", "POST", (service(new) + "---" + route("entry", backend=new)).encode())
        asking.api(f"documents/service/default/{old}?wait=10", "DELETE")

    async def during() -> None:
        for old, new in (("old", "new"), ("new", "old")) * 10:
            await asyncio.to_thread(change, old, new)

    load = asyncio.run(steady_load("http://entry/", f"http://{host}:{port}", 200, during))
    assert load.sent > 100
    assert not load.failures, (load.statuses, load.failures[:3])


def ask(mesh: Mesh, name: str) -> Answer:
    """One request of the caller's application, on a connection of its own."""
    return Client(mesh.proxy_of("caller"))(f"http://{name}/")


def another_envoy(mesh: Mesh, pid: int) -> bool:
    """Whether the caller's Envoy is not the one of that process id."""
    envoy = mesh.state("caller")["envoy"]
    return envoy is not None and envoy["pid"] != pid


def test_what_was_used_is_there_after_restarts(asking: Mesh, caller: Client) -> None:
    assert caller("http://kept/").status == 200
    until("it is remembered", lambda: "|kept.default" in remembered(asking, "caller"))
    first = held(asking, "caller")
    for control_plane_too in (False, True):
        if control_plane_too:
            asking.processes["control-plane"].stop(signal.SIGKILL)
        old = asking.state("caller")["envoy"]["pid"]
        os.kill(old, signal.SIGKILL)
        if control_plane_too:
            serve_again(asking)
        until("another Envoy runs", partial(another_envoy, asking, old))
        until("it is connected", partial(connected, asking, "caller"))
        until("it has what it used", lambda: held(asking, "caller") >= first)
        assert "kept" in told(asking, "caller")
        assert ask(asking, "kept").status == 200


def test_without_a_control_plane_known_services_go_on_and_others_say_why(asking: Mesh, caller: Client) -> None:
    proxy = asking.proxy_of("caller")
    assert caller("http://known/").status == 200
    assert "unknown" not in told(asking, "caller")
    asking.processes["control-plane"].stop(signal.SIGKILL)
    try:
        answer = Client(proxy)("http://unknown/")
        assert answer.status == 503
        assert answer.seconds > ON_DEMAND_SECONDS - 1
        assert b"control plane" in answer.body
        assert caller("http://known/").status == 200
    finally:
        serve_again(asking)
    until("it works again", lambda: Client(proxy)("http://unknown/").status == 200)


def test_a_route_to_a_subset_needs_no_control_plane_once_it_is_confirmed(asking: Mesh, caller: Client) -> None:
    assert caller("http://divided/").status == 200
    asking.apply(SUBSET)
    asking.processes["control-plane"].stop(signal.SIGKILL)
    try:
        answer = caller("http://divided/")
        assert (answer.status, answer.json()["workload"]) == (200, "echo")
    finally:
        serve_again(asking)
