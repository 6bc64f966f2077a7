"""Pods, EndpointSlices and Nodes of a real API server as workloads and instances of a mesh.

Nodes, Pods and their status are written by hand; the EndpointSlices are the cluster's own controller's.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.http import Client
from support.imported import codes, reached, running
from support.kubernetes import Api, Pods, pod_source_of, service
from support.mesh import Mesh, until
from weft.model.instance import Instance
from weft.model.workload import Workload, WorkloadState
from weft.sources.contents import Contents

SLICES = "endpointslices"


@pytest.fixture
async def pods(api: Api, namespace: str) -> Pods:
    """Pods of the test's namespace, on a Node of their own."""
    pods = Pods(api, namespace)
    await pods.start()
    return pods


def workloads(contents: Contents, namespace: str) -> dict[str, Workload]:
    return {each.name: each for each in contents.workloads if each.namespace == namespace}


def instances(contents: Contents, namespace: str) -> dict[str, Instance]:
    return {each.key.name: each for each in contents.instances if each.key.namespace == namespace}


def told_of(contents: Contents, namespace: str) -> list[str]:
    """The codes of what is wrong with Pods of a namespace, or with following them."""
    found = contents.problems
    return [each.code for each in found if each.object is None or each.object.namespace == namespace]


def is_in(namespace: str, name: str, state: WorkloadState | None) -> Callable[[Contents], bool]:
    """Whether a workload, or an instance, is there in this state (None: it is not there)."""

    def holds(contents: Contents) -> bool:
        found: dict[str, Workload | Instance] = {**workloads(contents, namespace), **instances(contents, namespace)}
        return (found[name].state if name in found else None) is state

    return holds


async def test_the_life_of_a_pod(cluster: ApiCluster, api: Api, namespace: str, pods: Pods) -> None:
    """From before it has an address until it is gone, and another one after it."""
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    await pods.create("web", meshed=True, ports=[])
    source = pod_source_of(cluster.kubeconfig("admin"))
    async with running(source):
        first = await reached(source, "it starts", is_in(namespace, "web", WorkloadState.STARTING))
        assert not workloads(first, namespace)["web"].ports
        uid = workloads(first, namespace)["web"].pod
        await pods.status("web", "10.0.0.1")
        served = lambda found: [each.port for each in workloads(found, namespace)["web"].ports] == [8080]  # noqa: E731
        ready = await reached(source, "the port that its Service leads to is known by its slice", served)
        web = workloads(ready, namespace)["web"]
        assert (web.state, web.pod, web.place.zone) == (WorkloadState.HEALTHY, uid, "eu-1")
        assert str(web.ports[0].inbound) == "10.0.0.1:8080"
        await pods.status("web", "10.0.0.1", ready=False)
        await reached(source, "it is not ready", is_in(namespace, "web", WorkloadState.UNHEALTHY))
        await pods.status("web", "10.0.0.1")
        await reached(source, "it is again", is_in(namespace, "web", WorkloadState.HEALTHY))
        await pods.delete("web", grace=300)
        await reached(source, "it ends", is_in(namespace, "web", WorkloadState.DRAINING))
        await pods.delete("web", grace=0)
        await reached(source, "it is gone", is_in(namespace, "web", None))
        await pods.create("web", meshed=True, ports=[])
        again = await reached(source, "another one", is_in(namespace, "web", WorkloadState.STARTING))
        assert workloads(again, namespace)["web"].pod != uid
        assert not told_of(again, namespace)


async def test_who_has_no_proxy_is_an_instance(cluster: ApiCluster, api: Api, namespace: str, pods: Pods) -> None:
    await pods.create("plain", labels={"app": "db"})
    await pods.create("job")
    await pods.create("node.shop", meshed=True)
    source = pod_source_of(cluster.kubeconfig("admin"))
    async with running(source):
        for name in ("plain", "job", "node.shop"):
            await pods.status(name, "10.0.0.1")
        found = await reached(source, "it is ready", is_in(namespace, "plain", WorkloadState.HEALTHY))
        plain = instances(found, namespace)["plain"]
        assert (plain.address, plain.ports) == ("10.0.0.1", (("http", 8080),))
        assert ("app", "db") in plain.labels
        await pods.status("job", "10.0.0.1", phase="Succeeded", ready=False)
        await reached(source, "its work is done", is_in(namespace, "job", None))
        refused = await reached(source, "it is told", lambda found: told_of(found, namespace) == ["pod-unusable"])
        assert not workloads(refused, namespace)
        assert set(instances(refused, namespace)) == {"plain"}


async def test_slices_of_a_service_without_a_selector(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """As that of the API server itself."""
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/{SLICES}"
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.0.1"]}, {"addresses": ["10.9.0.2"], "conditions": {"ready": False}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }
    await api.create(slices, body)
    source = pod_source_of(cluster.kubeconfig("admin"))
    async with running(source):
        found = await reached(source, "they are read", lambda found: "db-1" in instances(found, namespace))
        mine = [each for each in found.instances if each.key.namespace == namespace]
        assert [(each.address, each.state, each.ports, each.service) for each in mine] == [
            ("10.9.0.1", WorkloadState.HEALTHY, (("https", 6443),), "db"),
            ("10.9.0.2", WorkloadState.UNHEALTHY, (("https", 6443),), "db"),
        ]
        await api.call("DELETE", f"{slices}/db-1")
        await reached(source, "they are gone", lambda found: not instances(found, namespace))


async def test_pods_that_changed_while_the_server_was_away(cluster: ApiCluster, namespace: str, pods: Pods) -> None:
    """A server that was started anew knows no place before its start: it answers 410, and everything is listed."""
    for name in ("kept", "gone", "changed"):
        await pods.create(name, meshed=True)
        await pods.status(name, "10.0.0.1")
    source = pod_source_of(cluster.kubeconfig("admin"))
    async with running(source):
        before = await reached(source, "they are ready", lambda found: len(workloads(found, namespace)) == 3)
        cluster.kill_api_server()
        try:
            await reached(source, "it is told", lambda found: "kubernetes-unavailable" in codes(found))
            key = base64.b64encode(f"/registry/pods/{namespace}/gone".encode()).decode()
            assert cluster.etcd("kv/deleterange", key=key)["deleted"] == "1"
            cluster.etcd("kv/compaction", revision=cluster.etcd("maintenance/status")["header"]["revision"])
        finally:
            cluster.start_api_server()
        await pods.status("changed", "10.0.0.1", ready=False)
        is_told = is_in(namespace, "changed", WorkloadState.UNHEALTHY)
        settled = lambda found: not told_of(found, namespace) and is_told(found)  # noqa: E731
        after = await reached(source, "it goes on", settled, 60)
    old, new = workloads(before, namespace), workloads(after, namespace)
    assert set(new) == {"kept", "changed"}
    assert new["kept"] is old["kept"], "only what differs is new"


def rules(*without: str) -> list[dict[str, Any]]:
    core = [name for name in ("pods", "nodes") if name not in without]
    rest = [SLICES] if SLICES not in without else ["leases"]
    return [
        {"apiGroups": [""], "resources": core or ["events"], "verbs": ["watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": rest, "verbs": ["watch"]},
    ]


async def test_what_may_not_be_read_is_told(cluster: ApiCluster, namespace: str, pods: Pods) -> None:
    await pods.create("web", meshed=True)
    await pods.status("web", "10.0.0.1")
    source = pod_source_of(cluster.account("pods", rules("pods", "nodes")))
    async with running(source):
        first = await reached(source, "there is no mesh of pods", lambda found: len(told_of(found, namespace)) == 2)
        assert (first.workloads, first.instances) == ((), ())
        texts = sorted(problem.message for problem in first.problems)
        assert texts[0].endswith("; nobody knows in which region and zone its workloads run")
        assert texts[1].startswith("pods cannot be read: it answers 403: ")
        assert texts[1].endswith("; there are no workloads of it in the mesh")
        cluster.account("pods", rules("nodes"))
        second = await reached(source, "pods may be read", is_in(namespace, "web", WorkloadState.HEALTHY))
        assert not workloads(second, namespace)["web"].locality.region
        cluster.account("pods", rules())
        last = await reached(source, "nodes, too", lambda found: not told_of(found, namespace))
        assert workloads(last, namespace)["web"].locality.region == "eu"


class Echo(BaseHTTPRequestHandler):
    """Says that it is the application of a Pod."""

    def do_GET(self) -> None:
        body = b"pod"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def test_a_host_calls_a_pod(cluster: ApiCluster, api: Api, namespace: str, pods: Pods, tmp_path: Path) -> None:
    """In plaintext, at the port that its container calls so, and only while it is ready."""
    spec = {"selector": {"app": "plain"}, "ports": [{"name": "http", "port": 80, "targetPort": "main"}]}
    await api.create(f"/api/v1/namespaces/{namespace}/services", {**service("plain", namespace), "spec": spec})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    await pods.create("plain-1", labels={"app": "plain"}, ports=[{"containerPort": server.server_port, "name": "main"}])
    await pods.create("meshed-1", meshed=True)
    await pods.status("meshed-1", "10.0.0.1")
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.serve("--kubeconfig", str(cluster.kubeconfig("admin")), "--context", "test")
        mesh.echo("front")
        client = Client(mesh.proxy_of("front"))

        def status() -> int:
            return client(f"http://plain.{namespace}/").status

        until("nothing is behind it", lambda: status() == 503)
        await pods.status("plain-1", "127.0.0.1")
        until("it is ready", lambda: status() == 200)
        assert client(f"http://plain.{namespace}/").body == b"pod"
        known = mesh.workload("meshed-1", namespace)
        assert (known["state"], known["connected"], bool(known["pod"])) == ("healthy", False, True)
        await pods.status("plain-1", "127.0.0.1", ready=False)
        until("it is not ready", lambda: status() == 503)
        await pods.status("plain-1", "127.0.0.1")
        until("it is again", lambda: status() == 200)
        await pods.delete("plain-1", grace=0)
        until("it is gone", lambda: status() == 503)
        told = Client()(mesh.endpoints()["metrics"]).body.decode()
        assert 'weft_kubernetes_followed{kind="pods"} 1' in told
    finally:
        mesh.stop()
        server.shutdown()
        server.server_close()
