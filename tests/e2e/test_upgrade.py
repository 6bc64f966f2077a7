"""Upgrades in place: other Envoys take over from running ones under 200 requests a second, and none is lost."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.envoys import LOCKS, install_one, version_in

from e2e.conftest import SERVICES
from support.envoy import free_port
from support.http import Load, steady_load
from support.mesh import Mesh, Proc, alive, cli, until
from weft.agent.binary import envoy_version, find_envoy
from weft.agent.hot_restart import HotRestart, requested

DRAIN = ("--drain", "3")
PROXIES = ("client", "echo", "front")
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""


def shared(hot: dict[str, Any]) -> Path:
    """The shared memory of a workload's Envoys."""
    return HotRestart(**hot)._memory


class Rig:
    """A caller, an instance and a gateway, whose Envoy is what a symbolic link says."""

    def __init__(self, root: Path) -> None:
        self.mesh = Mesh(root / "home", root / "logs")
        self.envoy = root / "envoy"
        self.install(install_one(LOCKS[0]))
        self.mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        self.mesh.apply(SERVICES)
        for name in PROXIES:
            self.start(name)
        self.mesh.wait_healthy(*PROXIES)
        self.mesh.apply(ROUTE)
        until("the gateway has its route", lambda: urllib.request.urlopen(self.front, timeout=5).status == 200)

    @property
    def front(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{dict(self.state('front')['listen'])[80]}/"

    def install(self, binary: Path) -> None:
        fresh = self.envoy.with_suffix(".new")
        fresh.symlink_to(binary)
        fresh.replace(self.envoy)

    def start(self, name: str) -> Proc:
        env = {"WEFT_ENVOY": str(self.envoy)}
        if name == "front":
            return self.mesh.spawn(name, "gateway", name, "--listen", "80=auto", *DRAIN, env=env)
        return self.mesh.echo(name, more=DRAIN, env=env, wait=False)

    def state(self, name: str) -> dict[str, Any]:
        return self.mesh.state(name)

    def running(self, name: str) -> str:
        """Where the binary is that a proxy executes."""
        return str(Path(f"/proc/{self.state(name)['envoy']['pid']}/exe").readlink())

    def taken_over(self, name: str, before: dict[str, Any]) -> None:
        until(f"another Envoy of {name}", lambda: self.state(name)["envoy"] != before["envoy"])
        until(f"the end of the one before, of {name}", lambda: not alive(before["envoy"]["pid"]))
        until("it is noted", lambda: self.state(name)["former"] is None)

    def under_load(self, during: Callable[[], None]) -> list[Load]:
        """200 requests a second: through the caller's proxy and through the gateway, on kept and on new connections."""
        host, port = self.mesh.proxy_of("client")
        ways = [("http://echo/", f"http://{host}:{port}"), (self.front, None)]
        loads: list[Load] = []

        async def run(rest: list[tuple[str, str | None, bool]]) -> None:
            if not rest:
                await asyncio.to_thread(during)
                return
            url, proxy, fresh = rest[0]
            loads.append(
                await steady_load(url, proxy, 50, functools.partial(run, rest[1:]), 110, least=200, fresh=fresh)
            )

        asyncio.run(run([(url, proxy, fresh) for url, proxy in ways for fresh in (False, True)]))
        return loads


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("upgrade")
    rig = Rig(root)
    try:
        yield rig
    finally:
        states = [rig.state(name) for name in PROXIES]
        rig.mesh.stop()
    assert not any(alive(state["envoy"]["pid"]) for state in states)
    assert not any(shared(state["hot"]).exists() for state in states)
    assert not list(rig.mesh.home.rglob("hot-restart*"))


def test_another_version_takes_over_and_no_request_is_lost(rig: Rig) -> None:
    before = {name: rig.state(name) for name in PROXIES}
    earlier = version_in(LOCKS[0])
    assert all(earlier in rig.running(name) for name in PROXIES)
    assert {rig.mesh.workload(name)["envoy"] for name in PROXIES} == {earlier}
    rig.install(find_envoy())

    def during() -> None:
        for name in ("client", "front"):
            rig.mesh.processes[name].process.send_signal(signal.SIGHUP)
        for name in ("client", "front"):
            rig.taken_over(name, before[name])
        # The agent of the third is killed while its second Envoy begins; the next agent finishes what it has begun.
        agent = rig.mesh.processes["echo"]
        agent.process.send_signal(signal.SIGHUP)
        until("a second Envoy", lambda: rig.state("echo")["successor"] or rig.state("echo")["former"])
        agent.stop(signal.SIGKILL)
        rig.start("echo")
        rig.taken_over("echo", before["echo"])

    loads = rig.under_load(during)
    assert [load.failures for load in loads] == [[], [], [], []]
    assert sum(load.sent for load in loads) >= 800
    assert all(str(find_envoy().resolve()) == rig.running(name) for name in PROXIES)
    until(
        "the version is told",
        lambda: {rig.mesh.workload(one)["envoy"] for one in PROXIES} == {envoy_version(find_envoy())},
    )
    for name in PROXIES:
        after = rig.state(name)
        assert after["hot"] == {"base": before[name]["hot"]["base"], "epoch": before[name]["hot"]["epoch"] + 1}
        assert after.get("application") == before[name].get("application")
        assert shared(after["hot"]).stat().st_size < 4096
    assert "took over Envoy" in rig.mesh.processes["echo"].output()


def test_a_proxy_is_restarted_by_hand(rig: Rig) -> None:
    before = rig.state("client")
    said = ""

    def during() -> None:
        nonlocal said
        said = cli(rig.mesh.home, "proxy", "restart", "client", "--timeout=45").stdout
        rig.taken_over("client", before)

    loads = rig.under_load(during)
    assert [load.failures for load in loads] == [[], [], [], []]
    after = rig.state("client")
    assert said == f"client.default: Envoy {after['envoy']['pid']} has taken over from {before['envoy']['pid']}\n"
    assert after["hot"]["epoch"] == before["hot"]["epoch"] + 1
    assert not requested(rig.mesh.home / "workloads/default/client"), "it is done"
    refused = cli(rig.mesh.home, "proxy", "restart", "clint", check=False)
    assert refused.returncode == 1
    assert "no workload or gateway 'clint'" in refused.stderr
    assert "did you mean client?" in refused.stderr


def test_one_that_ends_before_it_took_over_is_tried_again(rig: Rig) -> None:
    before = rig.state("echo")
    agent = rig.mesh.processes["echo"]

    def during() -> None:
        (rig.mesh.home / "workloads" / "default" / "echo" / "restart-envoy").touch()
        agent.process.send_signal(signal.SIGHUP)
        successor = until("a second Envoy", lambda: rig.state("echo")["successor"])
        os.kill(successor["pid"], signal.SIGKILL)
        rig.taken_over("echo", before)

    loads = rig.under_load(during)
    assert [load.failures for load in loads] == [[], [], [], []]


def test_the_control_plane_moves_to_another_port(rig: Rig) -> None:
    """The Envoys that run never reach it again: others take over, though they are cut off."""
    before = {name: rig.state(name) for name in PROXIES}
    through = urllib.request.ProxyHandler({"http": "http://{}:{}".format(*rig.mesh.proxy_of("client"))})
    caller = urllib.request.build_opener(through)
    until("the caller knows the service", lambda: caller.open("http://echo/", timeout=5).status == 200)
    rig.mesh.processes["control-plane"].stop(signal.SIGKILL)
    port = free_port()
    rig.mesh.serve("--xds-port", str(port), "--agent-port", "0", "--admin-port", "0")

    def during() -> None:
        for name in PROXIES:
            rig.mesh.processes[name].process.send_signal(signal.SIGHUP)
        for name in PROXIES:
            rig.taken_over(name, before[name])

    loads = rig.under_load(during)
    assert [load.failures for load in loads] == [[], [], [], []]
    for name in PROXIES:
        after = rig.state(name)
        assert f'"port_value": {port}' in (rig.mesh.home / "workloads/default" / name / "bootstrap.json").read_text()
        assert after["bootstrap"] != before[name]["bootstrap"]
        assert after["hot"]["epoch"] == before[name]["hot"]["epoch"] + 1
