"""A cluster full of Pods that nobody runs: Nodes, Services, Pods and their status, written to a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from weft.sources.kubernetes.client import MERGE_PATCH, ApiClient, ApiError
from weft.sources.kubernetes.pods import SLICES
from weft.testing.polling import eventually

NAMESPACES = 20
_AT_ONCE = 64
_PATIENCE = 300.0
_PLAIN = 10
"""Every so many Pods one has no proxy of the mesh."""
Write = tuple[str, str, Any, str]
"""Method, path, body, and its type."""


@dataclass(frozen=True)
class Crowd:
    """How many there are; the Pods are spread over Services and Nodes."""

    nodes: int
    services: int
    pods: int


def namespace_of(number: int) -> str:
    """The namespace of a Service, and of its Pods."""
    return f"crowd-{number % NAMESPACES}"


def pod_path(crowd: Crowd, number: int) -> str:
    """Where a Pod is."""
    return f"/api/v1/namespaces/{namespace_of(number % crowd.services)}/pods/pod-{number}"


def status_of(number: int, *, ready: bool) -> Write:
    """What its kubelet would say of a Pod, without the path."""
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
    return "PATCH", "", {"status": status}, MERGE_PATCH


async def fill(client: ApiClient, crowd: Crowd) -> None:
    """Write everything, and wait until the cluster's controller has put every Pod into an EndpointSlice."""
    await _write(client, _namespaces())
    for number in range(NAMESPACES):
        path = f"/api/v1/namespaces/{namespace_of(number)}/serviceaccounts/default"
        await eventually("the namespace is complete", partial(_is_there, client, path), _PATIENCE, 0.5)
    for writes in (_nodes(crowd), _services(crowd), _pods(crowd), _statuses(crowd)):
        await _write(client, writes)

    async def joined() -> bool:
        return await _endpoints(client) >= crowd.pods

    await eventually("every Pod is in a slice", joined, _PATIENCE, 2.0)


async def _is_there(client: ApiClient, path: str) -> bool:
    try:
        return bool((await client.get(path)).body)
    except ApiError as error:
        if error.status != 404:
            raise
        return False


async def _write(client: ApiClient, writes: Iterable[Write]) -> None:
    """Several at a time, and never more in memory than that."""
    pending = iter(list(writes))

    async def work() -> None:
        for method, path, body, content in pending:
            await client.send(method, path, json.dumps(body).encode(), content)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


def _namespaces() -> Iterator[Write]:
    for number in range(NAMESPACES):
        yield _created("/api/v1/namespaces", "Namespace", namespace_of(number))


def _nodes(crowd: Crowd) -> Iterator[Write]:
    for number in range(crowd.nodes):
        labels = {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": f"eu-{number % 3}"}
        yield _created("/api/v1/nodes", "Node", f"node-{number}", labels=labels)


def _services(crowd: Crowd) -> Iterator[Write]:
    for number in range(crowd.services):
        ports = [{"name": "http", "port": 80, "targetPort": "http"}]
        spec = {"selector": {"app": f"app-{number}"}, "ports": ports}
        path = f"/api/v1/namespaces/{namespace_of(number)}/services"
        yield _created(path, "Service", f"app-{number}", spec=spec)


def _pods(crowd: Crowd) -> Iterator[Write]:
    for number in range(crowd.pods):
        image, app = {"image": "weft.test/none:1"}, f"app-{number % crowd.services}"
        meshed = bool(number // crowd.services % _PLAIN)
        environment = [{"name": f"SETTING_{index}", "value": "of no interest to a mesh" * 4} for index in range(20)]
        container = {"name": "app", "ports": [{"containerPort": 8080, "name": "http"}], "env": environment, **image}
        spec = {
            "nodeName": f"node-{number % crowd.nodes}",
            "containers": [container],
            "initContainers": [{"name": "weft-proxy", "restartPolicy": "Always", **image}] if meshed else [],
        }
        labels = {"app": app, "version": "v1", "pod-template-hash": "5d8f7c9b4"}
        yield _created(pod_path(crowd, number).rpartition("/")[0], "Pod", f"pod-{number}", labels=labels, spec=spec)


def _statuses(crowd: Crowd) -> Iterator[Write]:
    for number in range(crowd.pods):
        method, _, body, content = status_of(number, ready=True)
        yield method, f"{pod_path(crowd, number)}/status", body, content


def _created(path: str, kind: str, name: str, *, labels: dict[str, str] | None = None, spec: Any = None) -> Write:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels or {}}, "spec": spec or {}}
    return "POST", path, body, "application/json"


class _Slice(msgspec.Struct):
    endpoints: list[msgspec.Raw] | None = None


class _Slices(msgspec.Struct):
    items: list[_Slice]


async def _endpoints(client: ApiClient) -> int:
    answer = await client.get(SLICES)
    return sum(len(each.endpoints or ()) for each in msgspec.json.decode(answer.body, type=_Slices).items)
