"""Pods that tests write at an API server by hand, and tokens of their service accounts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admin.test_agent_api import Agent, new_request
from support.control import Rig
from support.kubernetes import Api
from weft.aio.cell import Cell
from weft.model.workload import SocketAddress, Workload
from weft.sources.contents import Contents
from weft.testing.polling import eventually


class ToldPods:
    """A source that tells of the Pods that it is told."""

    def __init__(self) -> None:
        self.contents: Cell[Contents | None] = Cell(Contents())

    async def run(self) -> None:
        """Nothing of its own."""

    def tell(self, *pods: Workload) -> None:
        """These are there now."""
        self.contents.set(Contents(workloads=tuple(sorted(pods, key=lambda pod: (pod.namespace, pod.name)))))


class Pods:
    """The Pods of one namespace. `rig` is the control plane that is to know of them before a test goes on."""

    def __init__(self, api: Api, namespace: str, told: ToldPods, rig: Rig | None = None) -> None:
        self._api = api
        self._core = f"/api/v1/namespaces/{namespace}"
        self._told, self._rig = told, rig
        self._there: dict[str, Workload] = {}
        self.namespace = namespace

    async def account(self, name: str) -> None:
        """Make a service account."""
        about = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about}
        await self._api.create(f"{self._core}/serviceaccounts", body)

    async def start(self, name: str, account: str = "web", *, told: bool = True) -> Workload:
        """Make a Pod with a proxy; no node need run it."""
        about = {"name": name, "namespace": self.namespace}
        containers = [{"name": each, "image": "weft.test/none:1"} for each in ("app", "weft-proxy")]
        spec = {"serviceAccountName": account, "containers": containers, "terminationGracePeriodSeconds": 0}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        made = await self._api.call("POST", f"{self._core}/pods", body)
        workload = Workload(name, self.namespace, account, pod=made["metadata"]["uid"])
        if told:
            self.tell(workload)
            await self._known(workload, workload)
        return workload

    def tell(self, workload: Workload) -> None:
        """The source tells of it, as it is now."""
        self._there[workload.name] = workload
        self._told.tell(*self._there.values())

    async def end(self, workload: Workload) -> None:
        """Delete a Pod."""
        await self._api.call("DELETE", f"{self._core}/pods/{workload.name}", {"gracePeriodSeconds": 0})
        del self._there[workload.name]
        self._told.tell(*self._there.values())
        await self._known(workload, None)

    async def _known(self, pod: Workload, now: Workload | None) -> None:
        """Wait until the control plane knows."""
        if self._rig is not None:
            collector = self._rig.parts.collector
            await eventually("the control plane knows of it", lambda: collector.pod(pod.proxy) == now)

    async def token(
        self, pod: Workload, account: str = "", *, audiences: Sequence[str] = ("weft",), bound: bool = True
    ) -> str:
        """What the kubelet would mount: a token of the Pod's service account, bound to the Pod."""
        spec: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": 600}
        if bound:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.pod}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"{self._core}/serviceaccounts/{account or pod.service_account}/token"
        return str((await self._api.call("POST", path, body))["status"]["token"])


class Proxy:
    """The agent of a Pod."""

    def __init__(self, rig: Rig, directory: Path, pod: Workload) -> None:
        self._rig, self._directory = rig, directory
        self.pod = pod
        self.held = Agent(rig, directory)
        self.path = f"/v1/workloads/{pod.namespace}/{pod.name}"

    async def join(self, token: str, status: int = 200, pod: Workload | None = None) -> str:
        """Register by `token`; the code of a refusal. What the agent says of itself is as a sidecar says it."""
        said = dataclasses.replace(
            pod or self.pod,
            pod="",
            capture=(SocketAddress("127.0.0.1", 15001),),
            inbound_capture=(SocketAddress("0.0.0.0", 15006),),
            metrics=SocketAddress("10.0.0.1", 15020),
        )
        key, csr = new_request()
        answer = await Agent(self._rig, self._directory, token=token).register(said, status, csr)
        if status != 200:
            return str(answer["code"])
        self.held = Agent(self._rig, self._directory, pem=key + answer["issued"]["chain"])
        return str(answer["issued"]["chain"])

    async def certificate(self, status: int = 200) -> str:
        """A new certificate by the one that is held; the code of a refusal."""
        answer = await self.held.call("POST", f"{self.path}/certificate", {"csr": new_request()[1]}, status)
        return str(answer["chain"] if status == 200 else answer["code"])

    async def call(self, what: str, body: object = None, status: int = 200) -> str:
        """Another act; the code of a refusal."""
        answer = await self.held.call("POST", f"{self.path}/{what}", body, status)
        return str(answer.get("code", ""))
