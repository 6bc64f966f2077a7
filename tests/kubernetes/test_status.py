"""Status in a real API server: what the mesh says of documents is written there, by the one that leads, and no more."""

from __future__ import annotations

import asyncio
from typing import Any

from tools.kubernetes_cluster import ApiCluster

from support.cluster_writes import (
    conditions,
    conditions_reach,
    declare,
    gateway,
    parents_reach,
    status_of,
    writing,
)
from support.kubernetes import ROUTES, Api, definition, route, service
from support.meshdocs import gateway_workload
from weft.admin.kubernetes.features import FEATURES
from weft.discovery.status import Lack
from weft.testing.polling import eventually

GOOD = {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
LONG_AGO = "2020-01-01T00:00:00Z"


async def test_a_class_a_gateway_and_a_route(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace), service("api", namespace))
    gateways, routes = f"{ROUTES}/namespaces/{namespace}/gateways", f"{ROUTES}/namespaces/{namespace}/httproutes"
    tls = {"name": "tls", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}}
    http = {"name": "http", "port": 80, "protocol": "HTTP"}
    body = route("web", namespace, "web", "api")
    body["spec"]["parentRefs"] += [{"name": "edge", "sectionName": "http"}, {"name": "nobody"}]
    await api.create(gateways, gateway("edge", namespace, http, tls))
    await api.create(routes, body)
    async with writing(cluster.kubeconfig("admin"), workloads=(gateway_workload("edge", namespace),)):
        found = await conditions_reach(api, f"{gateways}/edge", Accepted="True Accepted", Programmed="True Programmed")
        said = found["status"]
        assert said["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
        assert {each["name"]: each["attachedRoutes"] for each in said["listeners"]} == {"http": 1, "tls": 0}
        kinds = {each["name"]: [one["kind"] for one in each["supportedKinds"]] for each in said["listeners"]}
        assert kinds == {"http": ["HTTPRoute", "GRPCRoute"], "tls": ["TLSRoute"]}
        assert conditions(said["listeners"][0]) == {
            **GOOD, "Programmed": "True Programmed", "Conflicted": "False NoConflicts",
        }  # fmt: skip
        parents = await parents_reach(api, f"{routes}/web", GOOD, GOOD)
        assert [each["parentRef"] for each in parents] == [
            {"group": "", "kind": "Service", "name": "web"},
            {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "sectionName": "http"},
        ]
        since = parents[0]["conditions"][0]["lastTransitionTime"]
        of_class = await conditions_reach(api, f"{ROUTES}/gatewayclasses/weft", Accepted="True Accepted")
        assert tuple(each["name"] for each in of_class["status"]["supportedFeatures"]) == FEATURES
        await api.call(
            "PATCH", f"{routes}/web", {"spec": {"rules": [{"backendRefs": [{"name": "no", "port": 80}]}]}}, MERGE
        )
        lost = {**GOOD, "ResolvedRefs": "False BackendNotFound"}
        parents = await parents_reach(api, f"{routes}/web", lost, lost)
        assert {each["observedGeneration"] for one in parents for each in one["conditions"]} == {2}
        accepted = next(each for each in parents[0]["conditions"] if each["type"] == "Accepted")
        assert accepted["lastTransitionTime"] == since, "what was true stays true since when it was"
        await api.call("PATCH", f"{routes}/web", {"spec": {"parentRefs": [{"name": "nobody"}]}}, MERGE)
        await parents_reach(api, f"{routes}/web")


async def test_what_somebody_else_wrote_stays(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    gateways, routes = f"{ROUTES}/namespaces/{namespace}/gateways", f"{ROUTES}/namespaces/{namespace}/httproutes"
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    await api.create(gateways, gateway("edge", namespace), gateway("theirs", namespace, of_class="others"))
    body = route("web", namespace, "web", "web")
    body["spec"]["parentRefs"].append({"name": "theirs"})
    await api.create(routes, body)
    about = {"reason": "Theirs", "message": "", "lastTransitionTime": LONG_AGO, "status": "True", "type": "Accepted"}
    theirs = {"parentRef": {"name": "theirs"}, "controllerName": "example.com/other", "conditions": [about]}
    await api.call("PATCH", f"{routes}/web/status", {"status": {"parents": [theirs]}}, MERGE)
    extra = {"apiVersion": body["apiVersion"], "kind": "Gateway", "metadata": {"name": "edge"}}
    extra["status"] = {"conditions": [{**about, "type": "example.com/Scanned"}]}
    await api.call("PATCH", f"{gateways}/edge/status?fieldManager=scanner", extra, APPLY)
    async with writing(cluster.kubeconfig("admin")):
        await conditions_reach(api, f"{gateways}/edge", Accepted="True Accepted", Programmed="False NoResources")

        async def both() -> list[Any] | None:
            found = (await status_of(api, f"{routes}/web"))["parents"]
            return found if len(found) == 2 else None

        first, ours = await eventually("both are there", both)
        assert first["controllerName"] == "example.com/other"
        assert first["conditions"] == [about]
        assert conditions(ours) == GOOD
        assert "example.com/Scanned" in conditions(await status_of(api, f"{gateways}/edge"))
        waiting = conditions(await status_of(api, f"{gateways}/theirs"))
        assert set(waiting.values()) == {"Unknown Pending"}, "a Gateway of another class is nobody's business here"
        await api.call("PATCH", f"{routes}/web/status", {"status": {"parents": [theirs]}}, MERGE)
        await eventually("ours comes again", both)


async def test_nothing_is_written_while_nothing_differs(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    services, routes = f"/api/v1/namespaces/{namespace}/services", f"{ROUTES}/namespaces/{namespace}/httproutes"
    await api.create(services, service("web", namespace), service("other", namespace))
    await api.create(routes, route("web", namespace, "web", "web"))
    async with writing(cluster.kubeconfig("admin")) as rig:
        await parents_reach(api, f"{routes}/web", GOOD)
        version = (await api.call("GET", f"{routes}/web"))["metadata"]["resourceVersion"]
        for number in range(30):
            patch = {"spec": {"selector": {"app": f"other{number}"}}}
            await api.call("PATCH", f"{services}/other", patch, MERGE)
            await asyncio.sleep(0.1)  # churn takes its time: the writer looks at all objects once a second
        await api.create(routes, route("last", namespace, "other", "web"))
        await parents_reach(api, f"{routes}/last", GOOD)
        assert rig.compiled.value.revision > 10, "the mesh was made again and again"
        assert (await api.call("GET", f"{routes}/web"))["metadata"]["resourceVersion"] == version


async def test_programmed_is_what_the_proxies_have_confirmed(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    path = f"{ROUTES}/namespaces/{namespace}/gateways"
    await api.create(path, gateway("edge", namespace))
    server = gateway_workload("edge", namespace)
    async with writing(cluster.kubeconfig("admin"), workloads=(server,)) as rig:
        rig.lacks[server.proxy] = Lack("has not confirmed it yet")
        said = await conditions_reach(api, f"{path}/edge", Accepted="True Accepted", Programmed="False Pending")
        message = next(each["message"] for each in said["status"]["conditions"] if each["type"] == "Programmed")
        assert message == f"{server.proxy} has not confirmed it yet"
        assert conditions(said["status"]["listeners"][0])["Programmed"] == "False Pending"
        del rig.lacks[server.proxy]
        words = ("wait", "--for=condition=Programmed", "gateway/edge", "-n", namespace, "--timeout=60s")
        await asyncio.to_thread(cluster.kubectl, *words)
        rig.lacks[server.proxy] = Lack("has not confirmed it yet")
        rig.compile()
        refusal = Lack("Listener 0.0.0.0:80: no such thing", refused=True)
        rig.lacks[server.proxy] = refusal
        await conditions_reach(api, f"{path}/edge", Programmed="False Invalid")


async def test_documents_of_istio_say_whether_they_are_in_force(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.create(definitions, definition("networking.istio.io", "Sidecar", "sidecars", "v1", status=True))
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/sidecars"
    about = {"name": "default", "namespace": namespace}
    body = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": about}
    body["spec"] = {"egress": [{"hosts": ["./*"]}]}
    async with writing(cluster.kubeconfig("admin")):
        await eventually("it may be written", lambda: _created(api, path, body))
        await conditions_reach(api, f"{path}/default", Reconciled="True Reconciled")
        await api.call("PATCH", f"{path}/default", {"spec": {"egres": []}}, MERGE)
        found = await conditions_reach(api, f"{path}/default", Reconciled="False UnknownField")
        assert "did you mean 'egress'?" in found["status"]["conditions"][0]["message"]


async def _created(api: Api, path: str, body: object) -> bool:
    await api.call("POST", path, body)
    return True
