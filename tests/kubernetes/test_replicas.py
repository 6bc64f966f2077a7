"""Several control planes of one mesh: a proxy may be at any of them, and what it holds is known at all."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tools.kubernetes_cluster import ApiCluster

from support.cluster_writes import conditions_reach, declare, gateway
from support.envoy import free_port
from support.kubernetes import ROUTES, Api
from support.replicas import ControlPlanes, GatewayPods, Load, ServiceAddress
from weft.cli.changes import Deadline
from weft.cli.cluster_changes import apply_to_cluster, documents_of
from weft.local.client import AdminClient, Source
from weft.local.cluster import Cluster
from weft.settings.home import Home
from weft.testing.polling import eventually

pytestmark = pytest.mark.timeout(600)  # control planes that end and start again, in turn


@contextlib.asynccontextmanager
async def application(port: int, words: str) -> AsyncIterator[None]:
    """One that answers with `words`."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=words)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def backend(name: str, namespace: str, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Service, and the Pod that it selects."""
    about = {"name": name, "namespace": namespace}
    ports = [{"name": "http", "port": 80, "targetPort": port, "appProtocol": "http"}]
    one = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": about,
        "spec": {"selector": {"app": name}, "ports": ports},
    }
    containers = [{"name": "app", "image": "weft.test/none:1", "ports": [{"containerPort": port}]}]
    spec = {"containers": containers, "nodeName": f"node-{namespace}"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**about, "labels": {"app": name}}, "spec": spec}
    return one, pod


def led_to(name: str, namespace: str) -> dict[str, Any]:
    """The route of both Gateways, to a Service."""
    about = {"name": "web", "namespace": namespace}
    spec = {
        "parentRefs": [{"name": "edge"}, {"name": "side"}],
        "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
    }
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": about, "spec": spec}


GATEWAYS = ("edge", "side")
"""One Envoy for each: on one host two cannot listen at one port."""


async def prepared(api: Api, namespace: str, pods: GatewayPods) -> dict[str, int]:
    """Gateways that lead to a Service called `one`; their ports."""
    await declare(api)
    await pods.start()
    ports = {name: free_port() for name in GATEWAYS}
    for name, port in ports.items():
        await pods.account(f"{name}-weft")
        await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway(name, namespace, listener(port)))
    await api.create(f"{ROUTES}/namespaces/{namespace}/httproutes", led_to("one", namespace))
    return ports


def listener(port: int, name: str = "http") -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": "HTTP"}


async def test_the_leader_knows_what_proxies_of_others_hold(
    cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    planes = ControlPlanes(api, cluster.kubeconfig("admin"), tmp_path)
    pods, path = GatewayPods(api, namespace, planes, tmp_path), f"{ROUTES}/namespaces/{namespace}"
    port = (await prepared(api, namespace, pods))["edge"]
    address = ServiceAddress(planes)
    try:
        await planes.start("a", "b")
        async with address.serving():
            leader = await eventually("one leads", planes.leader)
            other = "b" if leader == "a" else "a"
            address.only = (other,)
            await eventually("the other is ready", lambda: other in address.ready)
            async with pods.running("edge-1", "edge"):
                proxy = f"edge-1.{namespace}"
                await eventually("it is connected", lambda: planes.connected(other) == [proxy])
                assert planes.connected(leader) == []
                await conditions_reach(api, f"{path}/gateways/edge", Programmed="True Programmed")
                shown = await asyncio.to_thread(planes.meshes[leader].weft, "proxy", "status", "-o", "json")
                assert [row["replica"] for row in json.loads(shown.stdout)] == [f"weft-{other}"]
                given = await asyncio.to_thread(planes.meshes[leader].api, f"proxies/{proxy}/config/listeners")
                assert str(port) in json.dumps(given)
                assert planes.meshes[leader].workload("edge-1", namespace)["connected"]

                spec = {"spec": {"listeners": [listener(port), listener(free_port(), "more")]}}
                await api.call("PATCH", f"{path}/gateways/edge", spec, "application/merge-patch+json")
                await conditions_reach(api, f"{path}/gateways/edge", Programmed="True Programmed")

                planes.processes[other].process.send_signal(signal.SIGSTOP)
                try:

                    def unknown() -> list[str]:
                        return [one["replica"] for one in planes.meshes[leader].api("proxies").get("unknown", ())]

                    await eventually("its proxies are unknown", lambda: unknown() == [f"weft-{other}"], 60)
                    shown = await asyncio.to_thread(planes.meshes[leader].weft, "proxy", "status")
                    assert f"weft-{other}" in shown.stdout + shown.stderr
                    said = await api.call("GET", f"{path}/gateways/edge")
                    assert {each["type"]: each["status"] for each in said["status"]["conditions"]}[
                        "Programmed"
                    ] == "True"
                finally:
                    planes.processes[other].process.send_signal(signal.SIGCONT)
                await eventually("they are known again", lambda: not unknown(), 60)
    finally:
        planes.stop()


class Applied:
    """``weft apply --wait`` at the API server, and the answer of one of the control planes."""

    def __init__(self, cluster: ApiCluster, planes: ControlPlanes, asked: str, namespace: str) -> None:
        self._cluster = Cluster((cluster.kubeconfig("admin"),))
        self._client = AdminClient(Home(planes.meshes[asked].home))
        self._namespace = namespace
        self.seconds = 0.0

    async def apply(self, document: dict[str, Any], timeout: float) -> tuple[int, str]:
        """The exit code, and what it says."""
        return await asyncio.to_thread(self._apply, document, timeout)

    def _apply(self, document: dict[str, Any], timeout: float) -> tuple[int, str]:
        found = documents_of([Source("given.yaml", json.dumps(document))], self._namespace)
        told, began = io.StringIO(), time.monotonic()
        ways = {"dry_run": False, "force": True, "allow_missing": False}
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            code = apply_to_cluster(self._cluster, self._client, found, Deadline(True, timeout), "table", **ways)
        self.seconds = time.monotonic() - began
        return code, told.getvalue()


def added(namespace: str, path: str) -> dict[str, Any]:
    """A route of the one Gateway."""
    match = {"path": {"type": "PathPrefix", "value": path}}
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "shop.example"}}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "added", "namespace": namespace},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"matches": [match], "filters": [redirect]}]},
    }


async def test_apply_waits_for_the_proxies_of_all(
    cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    """Also for one that is slow, one that refuses, one that nobody knows of, and one that moves meanwhile."""
    planes = ControlPlanes(api, cluster.kubeconfig("admin"), tmp_path)
    pods = GatewayPods(api, namespace, planes, tmp_path)
    port = (await prepared(api, namespace, pods))["edge"]
    address, proxy = ServiceAddress(planes), f"edge-1.{namespace}"
    try:
        await planes.start("a", "b")
        weft = Applied(cluster, planes, "a", namespace)
        confirmed = (0, f"HTTPRoute {namespace}/added configured\nconfirmed by 1 proxy\n")
        async with address.serving():
            address.only = ("b",)
            await eventually("b is ready", partial(address.leads_to, "b"))
            async with pods.running("edge-1", "edge") as envoy:
                await eventually("it is connected", lambda: planes.connected("b") == [proxy])
                await eventually("a knows", lambda: planes.meshes["a"].workload("edge-1", namespace)["connected"])
                assert await weft.apply(added(namespace, "/1"), 60) == (
                    0,
                    confirmed[1].replace("configured", "created"),
                )

                os.kill(envoy.pid, signal.SIGSTOP)
                try:
                    code, told = await weft.apply(added(namespace, "/2"), 6)
                finally:
                    os.kill(envoy.pid, signal.SIGCONT)
                assert (code, f"error: not confirmed in time: {proxy} at weft-b" in told) == (4, True), told
                assert weft.seconds >= 6
                assert await weft.apply(added(namespace, "/3"), 60) == confirmed

                planes.processes["b"].process.send_signal(signal.SIGSTOP)
                try:
                    code, told = await weft.apply(added(namespace, "/4"), 6)
                finally:
                    planes.processes["b"].process.send_signal(signal.SIGCONT)
                assert (code, "error: replica weft-b of the control plane is unknown" in told) == (4, True), told
                assert weft.seconds >= 6
                assert await weft.apply(added(namespace, "/5"), 60) == confirmed

                with socket.create_server(("0.0.0.0", 0)) as taken:
                    more = [listener(port), listener(taken.getsockname()[1], "more")]
                    code, told = await weft.apply(gateway("edge", namespace, *more), 60)
                assert (code, f"error: {proxy} at weft-b refused Listener" in told) == (1, True), told
                assert (await weft.apply(gateway("edge", namespace, listener(port)), 60))[0] == 0

                os.kill(envoy.pid, signal.SIGSTOP)
                try:
                    moving = asyncio.create_task(weft.apply(added(namespace, "/6"), 60))
                    await eventually("b waits for it", lambda: waits(planes, "b"))
                    address.only = ("a",)
                    await planes.kill("b")
                finally:
                    os.kill(envoy.pid, signal.SIGCONT)
                assert await moving == confirmed
                assert planes.connected("a") == [proxy]
                assert "/6" in json.dumps(planes.meshes["a"].api(f"proxies/{proxy}/config/routes"))
    finally:
        planes.stop()


def waits(planes: ControlPlanes, name: str) -> bool:
    """Whether a proxy there has not taken everything."""
    return any(row["revision_acked"] < row["revision"] for row in planes.meshes[name].api("proxies")["proxies"])


async def test_killing_each_in_turn_under_load_fails_nothing(
    cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    planes = ControlPlanes(api, cluster.kubeconfig("admin"), tmp_path, "--drain=2")
    pods, path = GatewayPods(api, namespace, planes, tmp_path), f"{ROUTES}/namespaces/{namespace}"
    ports = await prepared(api, namespace, pods)
    words = {"one": free_port(), "two": free_port()}
    for name, there in words.items():
        one, pod = backend(name, namespace, there)
        await api.create(f"/api/v1/namespaces/{namespace}/services", one)
        await api.create(f"/api/v1/namespaces/{namespace}/pods", pod)
        await pods.status(name, "127.0.0.1")
    address = ServiceAddress(planes)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for name, there in words.items():
                await stack.enter_async_context(application(there, name))
            await planes.start("a", "b", "c")
            await stack.enter_async_context(address.serving())
            for name, plane in zip(GATEWAYS, "ab", strict=True):
                address.only = (plane,)
                await eventually(f"{plane} is ready", partial(address.leads_to, plane))
                await stack.enter_async_context(pods.running(f"{name}-1", name))
            address.only = ()
            loads = [Load(port, "shop.example", 100.0) for port in ports.values()]
            for name, load in zip(GATEWAYS, loads, strict=True):
                await conditions_reach(api, f"{path}/gateways/{name}", Programmed="True Programmed")
                await stack.enter_async_context(load.running())

            async def lead_to(name: str) -> None:
                """A change arrives at every proxy."""
                await api.apply(f"{path}/httproutes/web", led_to(name, namespace))
                for load in loads:
                    await eventually(f"requests reach {name}", partial(load.has_reached, name))

            await lead_to("one")
            for plane in "abc":
                await planes.kill(plane)
                await lead_to("two")
                await planes.start(plane)
                await lead_to("one")
            for plane in "ab":
                await eventually(f"{plane} is ready", partial(address.leads_to, plane))
                assert await planes.end(plane) == 0
                await lead_to("two")
                await planes.start(plane)
                await lead_to("one")
    finally:
        planes.stop()
