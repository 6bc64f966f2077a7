"""Several control planes of one mesh: a proxy may be at any of them, and what it holds is known at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from tools.kubernetes_cluster import ApiCluster

from support.cluster_writes import conditions_reach, declare, gateway
from support.envoy import free_port
from support.kubernetes import ROUTES, Api
from support.replicas import ControlPlanes, GatewayPods, Load, ServiceAddress
from weft.testing.polling import eventually


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
