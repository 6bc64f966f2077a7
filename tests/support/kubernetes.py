"""Writing objects to a Kubernetes API in tests, and kinds of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from weft.aio.connector import Connector
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.discovery import FOLLOWED
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pods import PodSource
from weft.sources.kubernetes.reflector import Pace
from weft.sources.kubernetes.source import KubernetesSource
from weft.testing.polling import eventually

QUICK = Pace(retry=0.05, longest_retry=0.5, discovery=0.1)
ROUTES = "/apis/gateway.networking.k8s.io/v1"


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=Connector(limit=32)) as session:
        yield session


class Api:
    """An API server as whom a kubeconfig file makes its caller."""

    def __init__(self, kubeconfig: Path) -> None:
        self._credentials = Credentials(KubeconfigFile(str(kubeconfig)).access)

    async def call(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """One call; AssertionError unless it is answered 2xx."""
        async with _session() as session:
            return await self._call(session, method, path, body, content)

    async def create(self, path: str, *objects: Mapping[str, Any]) -> None:
        """Create objects, several at a time."""
        async with _session() as session, asyncio.TaskGroup() as group:
            for each in objects:
                group.create_task(self._call(session, "POST", path, each, "application/json"))

    async def apply(self, path: str, body: Mapping[str, Any]) -> None:
        """Server-side apply."""
        query = "fieldManager=test&force=true"
        await self.call("PATCH", f"{path}?{query}", body, "application/apply-patch+yaml")

    async def _call(self, session: aiohttp.ClientSession, method: str, path: str, body: object, content: str) -> Any:
        shown = self._credentials.current()
        headers = {**shown.headers, "Content-Type": content}
        data = None if body is None else json.dumps(body)
        options: Any = {"ssl": shown.tls}
        async with session.request(method, f"{shown.server}{path}", data=data, headers=headers, **options) as answer:
            text = await answer.text()
            assert answer.status < 300, (method, path, answer.status, text)
            return json.loads(text)


def rules(*, without: str = "") -> list[dict[str, Any]]:
    """Of a ClusterRole: what lets somebody read all kinds of documents but one."""
    found: dict[str, list[str]] = {}
    for kind in FOLLOWED:
        if kind.plural != without:
            found.setdefault(kind.group, []).append(kind.plural)
    verbs = ["list", "watch"]
    return [{"apiGroups": [group], "resources": plurals, "verbs": verbs} for group, plurals in found.items()]


def may_watch(resource: str, *names: str) -> dict[str, Any]:
    """Of a ClusterRole: what lets somebody read objects of the core group with these names, each by itself."""
    return {"apiGroups": [""], "resources": [resource], "resourceNames": list(names), "verbs": ["watch"]}


def source_of(kubeconfig: Path, pace: Pace = QUICK) -> KubernetesSource:
    """A source of documents as whom a kubeconfig file makes it."""
    return KubernetesSource("test", Credentials(KubeconfigFile(str(kubeconfig)).access), pace=pace)


def pod_source_of(kubeconfig: Path, pace: Pace = QUICK) -> PodSource:
    """A source of workloads as whom a kubeconfig file makes it."""
    return PodSource("test", Credentials(KubeconfigFile(str(kubeconfig)).access), pace=pace)


class Pods:
    """Pods of one namespace on a Node of their own, written by hand: nothing runs."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._node = f"node-{namespace}"
        self._path = f"/api/v1/namespaces/{namespace}/pods"

    async def start(self) -> None:
        """Make the Node, which is in zone ``eu-1`` of region ``eu``, and wait for the account of Pods that name none:
        controllers make it, late where they had lost the API server."""
        labels = {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node, "labels": labels}}
        await self._api.create("/api/v1/nodes", node)
        account = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/default"
        await eventually("the namespace has its account", lambda: self._api.call("GET", account))

    async def create(
        self,
        name: str,
        *,
        meshed: bool = False,
        labels: Mapping[str, str] | None = None,
        ports: Sequence[Mapping[str, Any]] = ({"containerPort": 8080, "name": "http"},),
    ) -> None:
        """A Pod that has no status yet. `meshed`: with a proxy of the mesh, as a native sidecar."""
        image = {"image": "weft.test/none:1"}
        proxy = [{"name": "weft-proxy", "restartPolicy": "Always", **image}] if meshed else []
        app = {"name": "app", "ports": list(ports), **image}
        spec = {"nodeName": self._node, "containers": [app], "initContainers": proxy}
        metadata = {"name": name, "labels": dict(labels or {"app": name})}
        await self._api.create(self._path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    async def status(self, name: str, address: str, *, ready: bool = True, phase: str = "Running") -> None:
        """What its kubelet would say."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
        patch = "application/merge-patch+json"
        await self._api.call("PATCH", f"{self._path}/{name}/status", {"status": status}, patch)

    async def delete(self, name: str, *, grace: int) -> None:
        """It has so many seconds to end, and since there is no kubelet it ends with none only."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace}
        await self._api.call("DELETE", f"{self._path}/{name}", body)


def definition(group: str, kind: str, plural: str, *versions: str, status: bool = False) -> dict[str, Any]:
    """A CustomResourceDefinition that takes anything; the first version is that in which objects are stored. `status`:
    it is written by itself."""
    own: dict[str, Any] = {"subresources": {"status": {}}} if status else {}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {"name": version, "served": True, "storage": version == versions[0], "schema": schema, **own}
                for version in versions
            ],
        },
    }


def service(name: str, namespace: str, app: str = "") -> dict[str, Any]:
    """A Service that selects `app` (its name)."""
    spec = {"selector": {"app": app or name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}


def route(name: str, namespace: str, of: str, to: str) -> dict[str, Any]:
    """An HTTPRoute that leads requests of the Service `of` to the Service `to`."""
    parent = {"group": "", "kind": "Service", "name": of}
    spec = {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": to, "port": 80}]}]}
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": about, "spec": spec}
