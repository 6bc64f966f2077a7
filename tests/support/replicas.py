"""Several control planes of one mesh in a cluster, the address of their Service, and gateways whose proxies use it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import msgspec

from admin.test_agent_api import Agent, new_request
from support.control import Rig
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.joining_pods import JoiningPods
from support.kubernetes import Api
from support.mesh import Mesh, Proc
from weft.agent.bootstrap import BootstrapInputs, bootstrap_text
from weft.agent.certificates import CertificateFiles
from weft.model.enrolment import RegisterResponse
from weft.model.gateway_process import GATEWAY_CLASS, GATEWAY_NAME, process_name
from weft.model.workload import GatewayBinding, SocketAddress, Workload
from weft.settings.home import Home
from weft.testing.polling import eventually

LABELS = {"app": "weft", "role": "server"}
NAMESPACE = "weft-system"
NODE = "control-planes"
SERVICE = "127.0.0.9"
_LOOK_SECONDS = 0.1


class ControlPlanes:
    """Control planes called a, b, c, at addresses of their own and the same ports, which share their state. Their Pods
    are written by hand. `options` are those of ``weft serve``."""

    def __init__(self, api: Api, kubeconfig: Path, directory: Path, *options: str) -> None:
        self._api = api
        self._directory = directory
        self.xds, self.agents, self.metrics = free_port(), free_port(), free_port()
        self._labels = {**LABELS, "mesh": uuid.uuid4().hex}  # Pods that an earlier test left are none of these
        self._options = (
            "--kubeconfig", str(kubeconfig), "--state=kubernetes",
            "--write-status", f"--kubernetes-namespace={NAMESPACE}",
            "--replicas=" + ",".join(f"{name}={value}" for name, value in self._labels.items()),
            f"--xds-port={self.xds}", f"--agent-port={self.agents}", f"--metrics-port={self.metrics}",
            "--admin-port=0", f"--advertise={SERVICE}", *options,
        )  # fmt: skip
        self.meshes: dict[str, Mesh] = {}
        self.processes: dict[str, Proc] = {}

    def address(self, name: str) -> str:
        """Where one listens."""
        return f"127.0.1.{ord(name)}"

    async def start(self, *names: str) -> None:
        """Start these, again if they were ended, and wait until they are ready."""
        for name in names:
            mesh = self.meshes.setdefault(name, Mesh(self._directory / name / "home", self._directory / name))
            self.processes[name] = mesh.spawn("control-plane", "serve", "--bind", self.address(name), *self._options)
            await self._tell(name)
        for name in names:
            await eventually(f"{name} is ready", partial(self.is_ready, name), 90)

    async def _tell(self, name: str) -> None:
        with contextlib.suppress(AssertionError):  # it is there; Pods of a node that is not are collected as garbage
            await self._api.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        about = {"name": f"weft-{name}", "labels": self._labels}
        spec = {"containers": [{"name": "weft", "image": "weft.test/none:1"}], "nodeName": NODE}
        with contextlib.suppress(AssertionError):  # it is there
            await self._api.call("POST", pods, {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
        address = self.address(name)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        patch = "application/merge-patch+json"
        await self._api.call("PATCH", f"{pods}/weft-{name}", {"metadata": {"labels": self._labels}}, patch)
        await self._api.call("PATCH", f"{pods}/weft-{name}/status", {"status": status}, patch)

    def is_ready(self, name: str) -> bool:
        """Whether its readiness probe is answered with 200."""
        assert not self.meshes[name].died(self.processes[name])
        url = f"http://{self.address(name)}:{self.metrics}/v1/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    async def kill(self, name: str) -> None:
        """As when its Pod is deleted by force."""
        self.processes[name].process.kill()
        self.processes[name].process.wait()
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self._api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/weft-{name}", body)

    async def end(self, name: str) -> int:
        """Ask it to stop, as the kubelet does; its exit code."""
        self.processes[name].process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.processes[name].process.wait, 60)

    def connected(self, name: str) -> list[str]:
        """The proxies that are connected to one itself."""
        return [row["name"] for row in self.meshes[name].api("proxies")["proxies"] if _is_own(row)]

    def leader(self) -> str:
        """Who writes."""
        for name, process in self.processes.items():
            told = [line for line in process.output().splitlines() if "control plane that writes" in line]
            if process.process.poll() is None and told and "no more" not in told[-1]:
                return name
        return ""

    def stop(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.stop(signal.SIGKILL)


def _is_own(row: dict[str, Any]) -> bool:
    return not str(row.get("replica", "")).startswith("weft-")


class ServiceAddress:
    """What kube-proxy makes of a Service: connections to its address go to one of the control planes that are ready by
    what was seen last, and not to another when that one does not take it. `only`: to these."""

    def __init__(self, planes: ControlPlanes) -> None:
        self._planes = planes
        self.ready: tuple[str, ...] = ()
        self.only: tuple[str, ...] = ()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """While the context is open."""
        tasks = [asyncio.create_task(self._look())]
        connections: set[asyncio.Task[None]] = set()
        servers = []
        for port in (self._planes.xds, self._planes.agents):

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
                task = asyncio.current_task()
                assert task is not None
                connections.add(task)
                await self._relay(reader, writer, port)
                connections.discard(task)

            servers.append(await asyncio.start_server(relay, SERVICE, port))
        try:
            yield
        finally:
            for server in servers:
                server.close()
            for task in (*tasks, *connections):
                task.cancel()
            await asyncio.gather(*tasks, *connections, return_exceptions=True)

    def leads_to(self, name: str) -> bool:
        """Whether one of them is ready."""
        return name in self.ready

    async def _look(self) -> None:
        while True:
            names = [name for name, one in self._planes.processes.items() if one.process.poll() is None]
            found = await asyncio.gather(*(asyncio.to_thread(self._is_ready, name) for name in names))
            self.ready = tuple(name for name, ready in zip(names, found, strict=True) if ready)
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_ready(self, name: str) -> bool:
        with contextlib.suppress(Exception):
            return self._planes.is_ready(name)
        return False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        chosen = [name for name in self.ready if not self.only or name in self.only]
        try:
            if chosen:
                host = self._planes.address(random.choice(chosen))
                there, back = await asyncio.open_connection(host, port)
                try:
                    pumps = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
                finally:
                    back.close()
        except OSError:
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


class GatewayPods(JoiningPods):
    """Pods of Gateways, whose Envoys are real. An agent joins for each, and then they go on by themselves."""

    def __init__(self, api: Api, namespace: str, planes: ControlPlanes, directory: Path) -> None:
        super().__init__(api, namespace)
        self._planes = planes
        self._files = directory

    @contextlib.asynccontextmanager
    async def running(self, name: str, gateway: str) -> AsyncIterator[RunningEnvoy]:
        """A Pod of a Gateway of class `weft`, and its Envoy. The service account has to be there."""
        pod = await self._pod(name, gateway)
        token = await self.token(pod)
        directory = self._files / name
        directory.mkdir(mode=0o700)
        bundle = next(iter(self._planes.meshes.values())).home / "control-plane" / "trust-bundle.pem"
        found = SimpleNamespace(
            home=None,
            agents=f"localhost:{self._planes.agents}",
            parts=SimpleNamespace(authority=SimpleNamespace(bundle=bundle.read_text())),
        )
        agent = _Agent(cast(Rig, SimpleNamespace(**vars(found) | {"home": Home(directory)})), directory, token=token)
        key, csr = new_request()
        answer = await eventually("it joins", lambda: agent.joined(pod, csr), 60)
        enrolment = msgspec.convert(answer, RegisterResponse)
        files = CertificateFiles(directory)
        files.prepare()
        files.install(key, enrolment.issued)
        bound = Workload(name, pod.namespace, pod.service_account, gateway=GatewayBinding(gateway, "0.0.0.0"))
        bootstrap = bootstrap_text(BootstrapInputs(bound, enrolment, directory / "admin.sock"))
        async with running_envoy(bootstrap, directory) as envoy:
            yield envoy

    async def _pod(self, name: str, gateway: str) -> Workload:
        account = process_name(gateway, "weft")
        labels = {GATEWAY_NAME: gateway, GATEWAY_CLASS: "weft"}
        containers = [{"name": "weft-proxy", "image": "weft.test/none:1"}]
        spec = {"serviceAccountName": account, "containers": containers, "nodeName": self._node}
        about = {"name": name, "namespace": self.namespace, "labels": labels}
        made = await self._api.call(
            "POST", self._path, {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        )
        await self.status(name, "10.0.0.7")
        return Workload(name, self.namespace, account, pod=made["metadata"]["uid"])


class _Agent(Agent):
    """One that goes to the address of the Service, which certificates do not name."""

    async def joined(self, pod: Workload, csr: str) -> Any:
        """The answer, once the control plane knows of the Pod."""
        body = msgspec.json.encode(
            {
                "workload": {"name": pod.name, "namespace": pod.namespace, "service_account": pod.service_account},
                "csr": csr,
                "clock": time.time(),
                "version": "",
            }
        )
        connector = aiohttp.TCPConnector(ssl=self.tls)
        url = f"https://{SERVICE}:{self.rig.agents.rpartition(':')[2]}/v1/workloads"
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(url, data=body, headers=headers, server_hostname="localhost") as response,
            ):
                return await response.json() if response.status == 200 else None
        return None


class Load:
    """Requests of clients outside the mesh, so many a second, each over a connection of its own or a kept one."""

    def __init__(self, port: int, host: str, rate: float = 200.0) -> None:
        self._url = f"http://127.0.0.1:{port}/"
        self._headers = {"Host": host}
        self._rate = rate
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []

    async def has_reached(self, words: str) -> bool:
        """Whether all answers of a while are these."""
        self.answers.clear()
        await asyncio.sleep(0.3)
        return set(self.answers) == {words}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """While the context is open; at the end nothing has failed."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not self.failed, (len(self.failed), sum(self.answers.values()), self.failed[:5])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as group,
        ):
            due = loop.time()
            while True:
                group.create_task(self._one(session))
                due = max(due + 1 / self._rate, loop.time() - 0.5)
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _one(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._url, headers=self._headers, timeout=aiohttp.ClientTimeout(30)) as answer:
                text = await answer.text()
                if answer.status == 200:
                    self.answers[text] += 1
                else:
                    self.failed.append(f"{answer.status} {text[:200]}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.failed.append(repr(error))


__all__ = ["LABELS", "ControlPlanes", "GatewayPods", "Load", "ServiceAddress", "SocketAddress"]
