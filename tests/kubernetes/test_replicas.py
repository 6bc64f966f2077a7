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
    """The route of the Gateway, to a Service."""
    about = {"name": "web", "namespace": namespace}
    spec = {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": name, "port": 80}]}]}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": about, "spec": spec}


async def prepared(api: Api, namespace: str, pods: GatewayPods, port: int) -> None:
    """A Gateway that leads to a Service called `one`."""
    await declare(api)
    await pods.start()
    await pods.account("edge-weft")
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway("edge", namespace, listener(port)))
    await api.create(f"{ROUTES}/namespaces/{namespace}/httproutes", led_to("one", namespace))


def listener(port: int, name: str = "http") -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": "HTTP"}


async def test_the_leader_knows_what_proxies_of_others_hold(
    cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    planes = ControlPlanes(api, cluster.kubeconfig("admin"), tmp_path)
    pods, port, path = GatewayPods(api, namespace, planes, tmp_path), free_port(), f"{ROUTES}/namespaces/{namespace}"
    await prepared(api, namespace, pods, port)
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
    pods, port, path = GatewayPods(api, namespace, planes, tmp_path), free_port(), f"{ROUTES}/namespaces/{namespace}"
    await prepared(api, namespace, pods, port)
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
            await eventually("all are ready", lambda: len(address.ready) == 3)
            for name in ("edge-1", "edge-2"):
                await stack.enter_async_context(pods.running(name, "edge"))
            await conditions_reach(api, f"{path}/gateways/edge", Programmed="True Programmed")
            await asyncio.sleep(1)
            load = await stack.enter_async_context(Load(port, "shop.example").running())

            async def leads(name: str) -> None:
                """A change arrives at every proxy: both share the port."""
                await api.apply(f"{path}/httproutes/web", led_to(name, namespace))

                async def there() -> bool:
                    load.answers.clear()
                    await asyncio.sleep(0.5)
                    return set(load.answers) == {name}

                await eventually(f"all requests reach {name}", there, 60)

            for name in ("a", "b", "c"):
                await planes.kill(name)
                await leads("two")
                await planes.start(name)
                await eventually(f"{name} is ready again", partial(address.leads_to, name))
                await leads("one")
            for name in ("a", "b"):
                assert await planes.end(name) == 0
                await leads("two")
                await planes.start(name)
                await leads("one")
    finally:
        planes.stop()
