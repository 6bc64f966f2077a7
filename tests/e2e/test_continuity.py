"""Traffic goes on: control plane killed, agents restarted, certificates renewed, instances replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from http.client import HTTPException

import pytest

from e2e.conftest import SERVICES
from support.http import Client, Load, steady_load
from support.mesh import Mesh, alive, until
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
TO_V2 = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec: {hosts: [echo], http: [{route: [{destination: {host: echo, subset: v2}}]}]}
"""

MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: MODE}}
"""


def start(mesh: Mesh, *serve: str) -> None:
    """A client and two versions of echo."""
    mesh.serve(*PORTS, *serve)
    mesh.apply(SERVICES)
    for name, app, version in (("client", "client", "v1"), ("echo-v1", "echo", "v1"), ("echo-v2", "echo", "v2")):
        mesh.echo(name, app=app, version=version, wait=False)
    mesh.wait_healthy("client", "echo-v1", "echo-v2")
    client = Client(mesh.proxy_of("client"))
    until(
        "both answer", lambda: {client("http://echo/").json()["workload"] for _ in range(10)} == {"echo-v1", "echo-v2"}
    )
    client.close()


def under_load(mesh: Mesh, during: Callable[[], Awaitable[None]]) -> Load:
    """200 requests a second through the client's proxy while something happens. Blocking steps run in a thread."""
    host, port = mesh.proxy_of("client")
    return asyncio.run(steady_load("http://echo/", f"http://{host}:{port}", 200, during))


async def blocking(function: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(function, *arguments)


def test_killing_the_control_plane_costs_no_request(mesh: Mesh) -> None:
    start(mesh, "--lease", "5")
    client = Client(mesh.proxy_of("client"))

    def follow_v2() -> None:
        assert {client("http://echo/").json()["workload"] for _ in range(100)} == {"echo-v2"}

    def lease_ends() -> list[float]:
        return [datetime.fromisoformat(item["lease_expires"]).timestamp() for item in mesh.items("workloads")]

    async def during() -> None:
        last = max(await asyncio.to_thread(lease_ends))
        mesh.processes["control-plane"].stop(signal.SIGKILL)
        await blocking(until, "all leases have run out", lambda: time.time() > last)
        await blocking(mesh.serve, *PORTS, "--lease", "5")
        back = time.time()
        await blocking(mesh.apply, TO_V2)  # waits for the proxies to come back
        await blocking(follow_v2)
        await blocking(until, "all are renewed when leases may end again", lambda: min(lease_ends()) > back + 10)
        assert len(await asyncio.to_thread(lease_ends)) == 3
        await blocking(follow_v2)

    load = under_load(mesh, during)
    assert load.sent > 1000
    assert not load.failures, (load.statuses, load.failures[:5])


def test_reconnecting_proxies_are_sent_next_to_nothing(mesh: Mesh) -> None:
    start(mesh)
    first = {item["name"]: item["bytes_sent"] for item in mesh.items("proxies")}
    mesh.processes["control-plane"].stop(signal.SIGKILL)
    mesh.serve(*PORTS)
    until("proxies are back", lambda: {item["name"] for item in mesh.items("proxies")} == set(first))
    done = mesh.weft("apply", "-f", "-", "--wait", stdin=SERVICES)  # unchanged, but everybody must be current
    assert done.returncode == 0
    again = {item["name"]: item["bytes_sent"] for item in mesh.items("proxies")}
    assert all(value > 1000 for value in first.values()), first
    assert all(again[name] <= first[name] * 0.05 for name in first), (first, again)


def test_restarting_an_agent_costs_no_request(mesh: Mesh) -> None:
    start(mesh)
    state = mesh.state("echo-v1")

    async def during() -> None:
        first = mesh.processes["echo-v1"]
        os.kill(first.pid, signal.SIGHUP)
        await blocking(until, "the restarted agent took over", lambda: "took over" in first.output())
        mesh.processes["echo-v1"].stop(signal.SIGKILL)
        again = mesh.echo("echo-v1", app="echo", wait=False)
        await blocking(until, "the new agent took over", lambda: again.output().count("took over") == 2)
        await asyncio.sleep(1)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    after = mesh.state("echo-v1")
    assert (after["envoy"]["pid"], after["application"]["pid"]) == (state["envoy"]["pid"], state["application"]["pid"])
    mesh.processes["echo-v1"].stop()
    assert not alive(after["envoy"]["pid"])
    assert not alive(after["application"]["pid"])


def test_renewing_all_certificates_costs_no_request(mesh: Mesh) -> None:
    start(mesh, "--certificate-ttl", "10")

    def serials() -> dict[str, str]:
        found = {}
        for name in ("client", "echo-v1", "echo-v2"):
            for path in (mesh.home / "workloads/default" / name).rglob("*.pem"):
                text = path.read_text()  # or it was replaced meanwhile: FileNotFoundError
                if text.count("BEGIN CERTIFICATE") >= 2:
                    found[name] = text
        return found

    async def during() -> None:
        for _ in range(2):
            old = await asyncio.to_thread(until, "they can be read", serials)
            await blocking(
                until, "all certificates are new", lambda old=old: all(serials()[n] != old[n] for n in old), 30
            )
        await asyncio.sleep(1)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])


def test_changing_mutual_tls_costs_no_request(mesh: Mesh) -> None:
    start(mesh)

    async def during() -> None:
        for mode in ("DISABLE", "STRICT") * 3:
            await blocking(mesh.apply, MODE.replace("MODE", mode))
            await asyncio.sleep(0.2)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    plain = Client(timeout=2)
    host, port = mesh.inbound_of("echo-v1")
    with pytest.raises((OSError, HTTPException)):
        plain(f"http://{host}:{port}/")


def test_replacing_an_instance_in_order_costs_no_request(mesh: Mesh) -> None:
    start(mesh)

    async def during() -> None:
        await blocking(lambda: mesh.echo("echo-v1b", app="echo"))
        await blocking(mesh.processes["echo-v1"].stop)
        await asyncio.sleep(1)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    names = {item["name"] for item in mesh.items("workloads")}
    assert names == {"client", "echo-v1b", "echo-v2"}


def test_a_killed_instance_is_avoided_and_its_lease_ends(mesh: Mesh) -> None:
    start(mesh, "--lease", "6")
    state = mesh.state("echo-v1")
    for pid in (mesh.processes["echo-v1"].pid, state["envoy"]["pid"], state["application"]["pid"]):
        os.kill(pid, signal.SIGKILL)
    until("its processes are gone", lambda: not alive(state["envoy"]["pid"]))
    client = Client(mesh.proxy_of("client"))
    until("what was in flight is over", lambda: all(client("http://echo/").status == 200 for _ in range(20)))
    for _ in range(200):
        assert client("http://echo/").json()["workload"] == "echo-v2"
    large = b"x" * (1 << 20)  # more than is kept for a retry
    assert [client("http://echo/", "POST", body=large).status for _ in range(20)] == [200] * 20
    until("the lease ends", lambda: "echo-v1" not in {item["name"] for item in mesh.items("workloads")})


def test_a_dead_agent_costs_its_workload_no_request_and_is_told(mesh: Mesh) -> None:
    """Envoy and application live: the stream is the lease. When they end as well, so does the registration."""
    start(mesh, "--lease", "1")  # three agents that each renew every 1.5 s
    mesh.processes["echo-v2"].stop()
    everybody = {"client", "echo-v1"}
    state = mesh.state("echo-v1")
    mesh.processes["echo-v1"].stop(signal.SIGKILL)
    client = Client(mesh.proxy_of("client"))

    def told() -> bool:
        assert client("http://echo/").status == 200
        return [one["source"] for one in mesh.problems() if one["code"] == "agent-silent"] == [
            "workload default/echo-v1"
        ]

    until("it is told", told)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert client("http://echo/").status == 200
        assert {item["name"] for item in mesh.items("workloads")} == everybody
    assert alive(state["envoy"]["pid"])
    mesh.echo("echo-v1", app="echo")  # another agent takes over
    assert client("http://echo/").status == 200
    idle = {"selects-nothing", "not-served"}  # nobody serves `other` and the Gateway here
    until("it is heard", lambda: {one["code"] for one in mesh.problems()} <= idle)
    mesh.processes["echo-v1"].stop(signal.SIGKILL)
    for what in ("envoy", "application"):
        os.kill(mesh.state("echo-v1")[what]["pid"], signal.SIGKILL)
    until("both are gone", lambda: {item["name"] for item in mesh.items("workloads")} == {"client"})


def test_a_proxy_that_is_cut_off_leaves_the_registration_to_its_agent(mesh: Mesh) -> None:
    start(mesh, "--lease", "1")
    home = Home(mesh.home)
    admin = EnvoyAdmin(home.socket(home.workload("default", "echo-v1") / "admin.sock"))
    until("its proxy is connected", lambda: asyncio.run(admin.connected()))
    pid = mesh.state("echo-v1")["envoy"]["pid"]
    os.kill(pid, signal.SIGSTOP)  # says nothing any more, and its connection stays until a keep-alive fails
    until("nobody answers", lambda: not asyncio.run(admin.connected()))
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert "echo-v1" in {item["name"] for item in mesh.items("workloads")}
        time.sleep(0.1)
    os.kill(pid, signal.SIGCONT)
    mesh.processes["control-plane"].stop(signal.SIGKILL)
    until("its proxy is cut off", lambda: not asyncio.run(admin.connected()))
    mesh.serve(*PORTS, "--lease", "1")
    until("its proxy is back", lambda: asyncio.run(admin.connected()))
    assert mesh.workload("echo-v1")["state"] == "healthy"


def test_an_application_that_is_gone_costs_no_request_while_nobody_says_so(mesh: Mesh) -> None:
    start(mesh)
    states = {name: mesh.state(name) for name in ("echo-v1", "echo-v2")}
    for name in states:
        mesh.processes[name].stop(signal.SIGKILL)
    try:
        client = Client(mesh.proxy_of("client"))
        os.kill(states["echo-v1"]["application"]["pid"], signal.SIGKILL)
        until("what was in flight is over", lambda: all(client("http://echo/").status == 200 for _ in range(20)))
        for _ in range(100):
            assert client("http://echo/").json()["workload"] == "echo-v2"
        os.kill(states["echo-v2"]["application"]["pid"], signal.SIGKILL)
        until("nobody is left", lambda: client("http://echo/").status == 503)
        answer = client("http://echo/")
        assert (answer.status, "x-weft-not-delivered" in answer.headers) == (503, False)
    finally:
        for pid in (state[what]["pid"] for state in states.values() for what in ("envoy", "application")):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_an_unhealthy_application_gets_no_requests(mesh: Mesh) -> None:
    start(mesh)
    application = mesh.workload("echo-v1")["ports"][0]["application"]
    direct = Client()
    direct(f"http://{application['host']}:{application['port']}/health/false", "POST")
    until("it is seen", lambda: mesh.workload("echo-v1")["state"] == "unhealthy")
    client = Client(mesh.proxy_of("client"))
    until("it is avoided", lambda: {client("http://echo/").json()["workload"] for _ in range(20)} == {"echo-v2"})
    direct(f"http://{application['host']}:{application['port']}/health/true", "POST")
    until(
        "it is back", lambda: {client("http://echo/").json()["workload"] for _ in range(20)} == {"echo-v1", "echo-v2"}
    )


def test_the_exit_code_of_the_application_is_passed_on(mesh: Mesh) -> None:
    mesh.serve(*PORTS)
    proc = mesh.run("short", [sys.executable, "-c", "import sys; sys.exit(7)"], port="", wait=False)
    assert proc.process.wait(60) == 7
