"""Gateways of a cluster become objects of a real API server, and are kept as they should be."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from tools.kubernetes_cluster import SERVICES, ApiCluster

from support.kubernetes import QUICK, ROUTES, Api, source_of
from weft.admin.context import Compiled
from weft.admin.kubernetes.duty import Duty
from weft.aio.cell import Cell
from weft.controlplane.gateways import GatewayKeeper
from weft.discovery.compiler import MeshCompiler
from weft.model.document import ObjectKey
from weft.model.snapshot import MeshSettings
from weft.provision.manifests import GatewayPods
from weft.sources.collector import Collector
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import Answer, ApiClient
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.referred import ReferredSource
from weft.testing.polling import eventually

PODS = GatewayPods({"containers": [{"name": "weft-proxy", "image": "weft.test/weft:1"}]})
CONTROLLER = "weft.dev/gateway-controller"


def gateway(namespace: str, port: int = 80, of_class: str = "weft", **annotations: str) -> dict[str, Any]:
    """A Gateway whose Service needs no load balancer."""
    given = {"networking.istio.io/service-type": "ClusterIP", **annotations}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web", "namespace": namespace, "annotations": given},
        "spec": {
            "gatewayClassName": of_class,
            "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
        },
    }


async def declare_class(api: Api, name: str = "weft", controller: str = CONTROLLER, **spec: object) -> None:
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": controller, **spec},
    }
    await api.apply(f"{ROUTES}/gatewayclasses/{name}", body)


class Counted(ApiClient):
    """A client that notes what it asks."""

    asked: ClassVar[list[str]] = []

    async def get(self, path: str, accept: str = "application/json", tag: str = "") -> Answer:
        Counted.asked.append(path)
        return await super().get(path, accept, tag)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        Counted.asked.append(path)
        return await super().send(method, path, body, content, query)


@contextlib.asynccontextmanager
async def keeping(
    cluster: ApiCluster,
    account: str = "admin",
    pods: Callable[[], GatewayPods] = lambda: PODS,
    owns: Callable[[ObjectKey], bool] = lambda _: True,
) -> AsyncIterator[GatewayKeeper]:
    """A keeper whose mesh is that of the cluster's documents, and of what they refer to."""
    admin = cluster.kubeconfig("admin")
    referred = ReferredSource("test", Credentials(KubeconfigFile(str(admin)).access), pace=QUICK)
    collector = Collector((source_of(admin), referred), MeshSettings(), admits=referred.admits)
    compiled: Cell[Compiled] = Cell(Compiled(0, None))
    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig(account))).access)
    keeper = GatewayKeeper(
        lambda: Counted(credentials),
        compiled,
        lambda: collector.snapshot.documents,
        pods,
        Duty(lambda: True, owns),
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in (collector.run(), _compile(collector, compiled), keeper.run())]
        try:
            yield keeper
        finally:
            for task in tasks:
                task.cancel()


async def _compile(collector: Collector, compiled: Cell[Compiled]) -> None:
    version, compiler = 0, MeshCompiler()
    while True:
        version = await collector.collected.changed(version)
        compiled.set(Compiled(collector.snapshot.revision, compiler.build(collector.snapshot)))


async def there(api: Api, path: str) -> Mapping[str, Any] | None:
    """An object, if it is there and not about to go."""
    try:
        found: Mapping[str, Any] = await api.call("GET", path)
    except AssertionError:
        return None
    return None if found["metadata"].get("deletionTimestamp") else found


async def test_a_gateway_comes_with_its_objects_changes_and_goes(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare_class(api)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    service, deployment, rest = paths(namespace)
    await api.create(gateways, gateway(namespace))
    async with keeping(cluster) as keeper:
        await eventually("the Deployment is made", lambda: there(api, deployment))
        made = await eventually("the Service is made", lambda: there(api, service))
        assert [port["port"] for port in made["spec"]["ports"]] == [80]
        for path in rest:
            assert await there(api, path), path
        key = ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, "web")
        address = made["spec"]["clusterIP"]
        await eventually("its address is known", lambda: keeper.addresses.value.get(key) == (address,))
        await api.apply(f"{gateways}/web", gateway(namespace, port=8080))

        async def changed() -> bool:
            now = await there(api, service)
            return now is not None and [port["port"] for port in now["spec"]["ports"]] == [8080]

        await eventually("the Service follows", changed)
        assert (await there(api, service) or {})["spec"]["clusterIP"] == address, "clients go on"
        assert not told_of(keeper, namespace)
        await api.call("DELETE", f"{gateways}/web")
        await eventually("the Service goes", lambda: gone(api, service), 60)
        await eventually("the Deployment goes", lambda: gone(api, deployment), 60)


async def test_a_gateway_goes_on_under_another_revision(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """The very objects that are there get the other's pods: nothing is deleted, and the former keeper lets them be."""
    await declare_class(api)
    service, deployment, _ = paths(namespace)
    owner = ["default"]
    other = GatewayPods({"containers": [{"name": "weft-proxy", "image": "weft.test/weft:2"}]}, revision="canary")
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway(namespace))

    async def images() -> list[str]:
        found = await there(api, deployment)
        pods = found["spec"]["template"] if found is not None else {"spec": {"containers": []}}
        return [each["image"] for each in pods["spec"]["containers"]] + [_revision(pods)]

    async with (
        keeping(cluster, owns=lambda _: owner == ["default"]) as first,
        keeping(cluster, pods=lambda: other, owns=lambda _: owner == ["canary"]) as second,
    ):
        before = await eventually("the Service is made", lambda: there(api, service))
        assert await images() == ["weft.test/weft:1", "default"]
        assert not second.reached(ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, "web"))
        owner[:] = ["canary"]

        async def moved() -> bool:
            return await images() == ["weft.test/weft:2", "canary"]

        await eventually("its pods are the other's", moved)
        assert (await there(api, service) or {})["metadata"]["uid"] == before["metadata"]["uid"]
        key = ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, "web")
        await eventually("the former keeper has let go", lambda: not first.reached(key))
        assert await moved()


def _revision(pods: Mapping[str, Any]) -> str:
    return str(pods.get("metadata", {}).get("labels", {}).get("weft.dev/rev", ""))


async def test_what_somebody_else_has_is_not_taken_over(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare_class(api)
    service, _, _ = paths(namespace)
    await api.create(f"/api/v1/namespaces/{namespace}/services", theirs(namespace))
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway(namespace))
    async with keeping(cluster) as keeper:
        told = await eventually("it is told", lambda: told_of(keeper, namespace))
        assert f"there is a Service {namespace}/web-weft that is not this Gateway's" in told
        assert (await there(api, service) or {})["spec"]["selector"] == {"app": "theirs"}
        await asyncio.sleep(3)  # tries grow seldom
        before = len(Counted.asked)
        await asyncio.sleep(4)
        assert len([path for path in Counted.asked[before:] if f"/{namespace}/" in path]) <= 40
        await api.call("DELETE", service)
        await eventually("it is made then", lambda: not told_of(keeper, namespace), 60)


async def test_a_gateway_of_another_controller_loses_its_objects(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare_class(api)
    await declare_class(api, "another", "example.com/gateways")
    service, deployment, _ = paths(namespace)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    await api.create(gateways, gateway(namespace))
    async with keeping(cluster):
        await eventually("the Service is made", lambda: there(api, service))
        await api.apply(f"{gateways}/web", gateway(namespace, of_class="another"))
        await eventually("the Service goes", lambda: gone(api, service))
        await eventually("the Deployment goes", lambda: gone(api, deployment))


async def test_whoever_asks_for_what_cannot_be_keeps_what_it_has(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """Clients are connected: a slip of the pen, or a class that is made anew, takes no address away."""
    await declare_class(api)
    service, deployment, _ = paths(namespace)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    await api.create(gateways, gateway(namespace))
    async with keeping(cluster) as keeper:
        made = await eventually("the Service is made", lambda: there(api, service))
        wrong = gateway(namespace)
        wrong["spec"]["infrastructure"] = {"annotations": {"networking.istio.io/service-type": "clusterip"}}
        await api.apply(f"{gateways}/web", wrong)
        await eventually("it is told", lambda: told_of(keeper, namespace))
        await api.call("DELETE", f"{ROUTES}/gatewayclasses/weft")
        await eventually("nothing is told without a class", lambda: not told_of(keeper, namespace))
        now = await there(api, service)
        assert now is not None
        assert now["metadata"]["uid"] == made["metadata"]["uid"]
        assert await there(api, deployment)


async def test_another_class_of_ours_and_another_number_of_pods(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare_class(api)
    await declare_class(api, "edge")
    service, _, (_, _, autoscaler) = paths(namespace)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    await api.create(gateways, gateway(namespace))
    pods = [PODS]
    async with keeping(cluster, pods=lambda: pods[0]):
        await eventually("the autoscaler is made", lambda: there(api, autoscaler))
        pods[0] = replace(PODS, most=0)
        await api.apply(f"{gateways}/web", gateway(namespace, port=81))
        await eventually("nobody chooses any more", lambda: gone(api, autoscaler))
        await api.apply(f"{gateways}/web", gateway(namespace, port=81, of_class="edge"))
        await eventually("it has the other name", lambda: there(api, service.replace("web-weft", "web-edge")))
        await eventually("and no longer the former", lambda: gone(api, service))


async def test_a_load_balancer_that_says_nothing_is_not_asked_all_the_time(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await declare_class(api)
    body = gateway(namespace)
    body["metadata"]["annotations"] = {"networking.istio.io/service-type": "LoadBalancer"}
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", body)
    service, _, _ = paths(namespace)
    key = ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, "web")
    async with keeping(cluster) as keeper:
        await eventually("the Service is made", lambda: there(api, service))
        await eventually("it has no address", lambda: keeper.reached(key) == ())
        before = len(Counted.asked)
        await asyncio.sleep(4)  # what is not to happen takes time
        assert len([path for path in Counted.asked[before:] if f"/{namespace}/" in path]) <= 4
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
        await api.call("PATCH", f"{service}/status", status, "application/merge-patch+json")
        await eventually("it has one", lambda: keeper.reached(key) == ("192.0.2.7",))


async def test_an_address_that_is_asked_for_is_the_services_or_it_is_told(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await declare_class(api)
    body, service = gateway(namespace), paths(namespace)[0]
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    key = ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, "web")
    body["spec"]["addresses"] = [{"value": "192.0.2.1"}]
    await api.create(gateways, body)
    free = str(ipaddress.ip_network(SERVICES)[101])
    async with keeping(cluster) as keeper:
        await eventually("it is told", lambda: f"{namespace}/web: cannot have 192.0.2.1" in told_of(keeper, namespace))
        assert {each.code for each in keeper.problems() if each.object == key} == {"address-not-usable"}
        assert await gone(api, service)
        body["spec"]["addresses"] = [{"value": free}]
        await api.apply(f"{gateways}/web", body)
        await eventually("the Service has it", lambda: keeper.reached(key) == (free,))
        await eventually("nothing is told", lambda: not told_of(keeper, namespace))
        assert (await there(api, service) or {})["spec"]["clusterIP"] == free


async def test_what_may_not_be_made_is_told(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare_class(api)
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway(namespace))
    cluster.account("gateways", [])
    async with keeping(cluster, "gateways") as keeper:
        found = await eventually("it is told", lambda: told_of(keeper, namespace))
        assert "403" in found


def theirs(namespace: str) -> dict[str, Any]:
    """A Service that is not the Gateway's."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web-weft", "namespace": namespace},
        "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
    }


def told_of(keeper: GatewayKeeper, namespace: str) -> str:
    return " ".join(each.message for each in keeper.problems() if each.object and each.object.namespace == namespace)


async def gone(api: Api, path: str) -> bool:
    return await there(api, path) is None


def paths(namespace: str) -> tuple[str, str, tuple[str, ...]]:
    """Of the Service, of the Deployment, and of the rest."""
    root = f"namespaces/{namespace}"
    return (
        f"/api/v1/{root}/services/web-weft",
        f"/apis/apps/v1/{root}/deployments/web-weft",
        (
            f"/api/v1/{root}/serviceaccounts/web-weft",
            f"/apis/policy/v1/{root}/poddisruptionbudgets/web-weft",
            f"/apis/autoscaling/v2/{root}/horizontalpodautoscalers/web-weft",
        ),
    )
