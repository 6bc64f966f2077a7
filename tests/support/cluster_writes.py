"""A control plane's writes to a Kubernetes API, over a mesh that is the cluster's documents and no processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.imported import running
from support.kubernetes import ROUTES, Api, source_of
from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.controlplane.cluster import ClusterWrites, Told
from weft.discovery.compiler import MeshCompiler
from weft.discovery.status import Lack
from weft.model.problem import Problem
from weft.model.revisions import USUAL, Revision
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.sources.contents import Contents
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.election import Terms
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.source import KubernetesSource
from weft.telemetry.metrics import Registry, text_of
from weft.testing.polling import eventually

QUICK = Terms(lasting=4, deadline=2.5, retry=0.2)
NAMESPACE = "weft-system"
Object = dict[str, Any]


class Rig:
    """`workloads` are those of the mesh, `lacks` what proxies have not taken, by name. Both may be changed: call
    `compile`."""

    def __init__(
        self, source: KubernetesSource, writer: Path, workloads: tuple[Workload, ...], revision: Revision
    ) -> None:
        self.source = source
        self.workloads = workloads
        self.lacks: dict[str, Lack] = {}
        self.compiled: Cell[Compiled] = Cell(Compiled(0, None))
        self.registry = Registry()
        credentials = Credentials(KubeconfigFile(str(writer)).access)
        told = Told(self.compiled, self._problems, lambda proxy, _revision, _document: self.lacks.get(proxy))
        self.writes = ClusterWrites(source, credentials, NAMESPACE, told, self.registry, revision, QUICK)
        self._compiler = MeshCompiler()

    def _problems(self) -> tuple[Problem, ...]:
        return self.source.contents.value.problems if self.source.contents.value is not None else ()

    def compile(self) -> None:
        """Make the mesh of what is there now."""
        contents = self.source.contents.value or Contents()
        revision = self.compiled.value.revision + 1
        snapshot = ConfigSnapshot(revision, contents.documents, self.workloads, contents.problems)
        mesh = self._compiler.build(snapshot)
        made = Compiled(revision, mesh, mesh.problems, documents=snapshot.documents, workloads=self.workloads)
        self.compiled.set(made)

    def written(self, what: str = "status", outcome: str = "written") -> float:
        """How often something was written."""
        text = text_of(self.registry.families())
        name = f'weft_kubernetes_writes_total{{what="{what}",outcome="{outcome}"}} '
        return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)

    async def follow(self) -> None:
        """Compile whatever the cluster has, for ever."""
        version = 0
        while True:
            version = await self.source.contents.changed(version)
            self.compile()


@contextlib.asynccontextmanager
async def writing(
    reader: Path,
    writer: Path | None = None,
    workloads: tuple[Workload, ...] = (),
    revision: Revision = USUAL,
) -> AsyncIterator[Rig]:
    """A control plane that reads and writes as whom two kubeconfig files make it, and leads or is about to."""
    rig = Rig(source_of(reader), writer or reader, workloads, revision)
    async with running(rig.source):
        tasks = [asyncio.create_task(rig.follow()), asyncio.create_task(rig.writes.run())]
        try:
            yield rig
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def declare(api: Api) -> None:
    """The namespace of the control plane, and the class `weft`."""
    about = {"name": NAMESPACE}
    await api.apply(f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    spec = {"controllerName": "weft.dev/gateway-controller"}
    version = "gateway.networking.k8s.io/v1"
    body = {"apiVersion": version, "kind": "GatewayClass", "metadata": {"name": "weft"}, "spec": spec}
    await api.apply(f"{ROUTES}/gatewayclasses/weft", body)


def gateway(name: str, namespace: str, *listeners: Object, of_class: str = "weft") -> Object:
    """A Gateway, by default with one listener for HTTP."""
    usual = {"name": "http", "port": 80, "protocol": "HTTP"}
    spec = {"gatewayClassName": of_class, "listeners": list(listeners) or [usual]}
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": about, "spec": spec}


def conditions(said: Object) -> dict[str, str]:
    """Statuses by type, with the reason where it is not the type itself or what goes without saying."""
    return {each["type"]: f"{each['status']} {each['reason']}" for each in said.get("conditions", ())}


async def status_of(api: Api, path: str) -> Object:
    """The status of an object."""
    return dict((await api.call("GET", path)).get("status", {}))


async def parents_reach(api: Api, path: str, *wanted: dict[str, str]) -> list[Object]:
    """The entries of a route, when their conditions are these."""

    async def there() -> tuple[list[Object], ...]:
        found = (await status_of(api, path)).get("parents", [])
        return (found,) if [conditions(each) for each in found] == list(wanted) else ()

    return (await eventually(f"{path} says {wanted}", there))[0]


async def conditions_reach(api: Api, path: str, **wanted: str) -> Object:
    """The object, when it has these conditions for its own generation."""

    async def there() -> Object:
        found = dict(await api.call("GET", path))
        said = found.get("status", {})
        fresh = {each.get("observedGeneration") for each in said.get("conditions", ()) if each["type"] in wanted}
        right = conditions(said).items() >= wanted.items() and fresh == {found["metadata"]["generation"]}
        return found if right else {}

    return await eventually(f"{path} says {wanted}", there)
