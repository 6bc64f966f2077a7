"""Pods that join a mesh: written at an API server by hand, the tokens of their service accounts, and their agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admin.test_agent_api import Agent, new_request
from support.control import Rig
from support.kubernetes import Api, Pods
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


class JoiningPods(Pods):
    """Pods of one namespace with proxies of the mesh, and tokens. `rig` is the control plane that is to know of a Pod,
    or of its end, before a test goes on."""

    def __init__(self, api: Api, namespace: str, rig: Rig | None = None) -> None:
        super().__init__(api, namespace)
        self._rig = rig
        self.namespace = namespace

    async def account(self, name: str) -> None:
        """Make a service account."""
        about = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about}
        await self._api.create(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", body)

    async def run(self, name: str, account: str = "web") -> Workload:
        """A Pod that its node has taken: as the control plane has it, if it is to know."""
        containers = [{"name": each, "image": "weft.test/none:1"} for each in ("app", "weft-proxy")]
        spec = {"serviceAccountName": account, "containers": containers, "nodeName": self._node}
        about = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        made = await self._api.call("POST", self._path, body)
        pod = Workload(name, self.namespace, account, pod=made["metadata"]["uid"])
        if self._rig is None:
            return pod
        collector = self._rig.parts.collector
        await eventually("the control plane knows of it", lambda: (collector.pod(pod.proxy) or pod) is not pod)
        return collector.pod(pod.proxy) or pod

    async def end(self, pod: Workload) -> None:
        """Delete a Pod at once."""
        await self.delete(pod.name, grace=0)
        if self._rig is not None:
            collector = self._rig.parts.collector
            await eventually("the control plane knows that it has gone", lambda: collector.pod(pod.proxy) is None)

    def known(self) -> list[Workload]:
        """The workloads of the namespace that the control plane has."""
        assert self._rig is not None
        return [each for each in self._rig.parts.collector.snapshot.workloads if each.namespace == self.namespace]

    async def token(
        self, pod: Workload, account: str = "", *, audiences: Sequence[str] = ("weft",), bound: bool = True
    ) -> str:
        """What the kubelet would mount: a token of the Pod's service account, bound to the Pod."""
        spec: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": 600}
        if bound:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.pod}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account or pod.service_account}/token"
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
        whose = pod or self.pod
        said = Workload(
            whose.name,
            whose.namespace,
            whose.service_account,
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
