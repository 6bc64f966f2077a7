"""A control plane's APIs in this process: memory store, real CA, collector, hub, build loop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from weft.admin.agents import AgentApi
from weft.admin.api import admin_application
from weft.admin.audit import Audit
from weft.admin.callers import holder_of
from weft.admin.context import ApiContext, EnrolmentSettings
from weft.admin.heard import Heard
from weft.admin.history.recorder import Recorder
from weft.admin.history.resources import Watch
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.telling import Telling
from weft.admin.server import serving
from weft.ca.authority import open_authority
from weft.ca.token_keys import TokenKeys
from weft.controlplane.builds import Builds
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.composition import Running
from weft.controlplane.connections import Connections
from weft.controlplane.kubernetes import token_reviews
from weft.controlplane.modes import Modes
from weft.controlplane.ports import bind_agent_socket
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.model import Mesh
from weft.model.problem import Problem
from weft.model.snapshot import MeshSettings
from weft.settings.home import Home
from weft.sources.collector import Collector
from weft.sources.contents import Source, owned_keys
from weft.sources.demand import Demand
from weft.sources.distrust import distrust_source
from weft.sources.files import FilesSource
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.leases import Leases
from weft.sources.stored import Applied, StoredSource
from weft.sources.workloads import workloads_source
from weft.store.memory import MemoryStore
from weft.traffic.keeper import TrafficKeeper

TOKEN = "the-admin-token"


@dataclass
class Rig:
    """What tests talk to. `admin` is the admin API's base URL, `agents` the TLS agent API's ``HOST:PORT``."""

    parts: ApiContext
    home: Home
    files: Path
    store: MemoryStore
    admin: str
    agents: str
    faults: list[Problem]
    telling: Telling

    def session(self, **headers: str) -> aiohttp.ClientSession:
        """A client of the admin API with the right token unless `headers` say otherwise."""
        return aiohttp.ClientSession(self.admin, headers={"Authorization": f"Bearer {TOKEN}", **headers})

    async def audited(self) -> list[Any]:
        """The audit, latest first."""
        return list(await self.parts.audit.events())


def _bound() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


def _directories(tmp_path: Path) -> tuple[Home, Path]:
    home, files = Home(tmp_path / "home"), tmp_path / "mesh"
    home.control_plane.mkdir(parents=True, mode=0o700)
    files.mkdir()
    return home, files


@contextlib.asynccontextmanager
async def _serving_agents(
    api: AgentApi, listener: socket.socket, tls: ssl.SSLContext, home: Home
) -> AsyncIterator[None]:
    """The agent API, for other hosts and for this one."""
    remote, local = api.application(local=False), api.application(local=True)
    with bind_agent_socket(home) as own:
        async with serving(remote, listener, tls, identify=holder_of), serving(local, own):
            yield


@contextlib.asynccontextmanager
async def running_control(
    tmp_path: Path, *, kubernetes: bool = False, also: Sequence[Source] = (), cluster: KubeconfigFile | None = None
) -> AsyncIterator[Rig]:
    home, files = _directories(tmp_path)
    store = MemoryStore()
    authority = open_authority(home.ca)
    source = FilesSource([files], poll=0.02)
    applied = Applied()
    sources: list[Source] = [source, StoredSource(store, applied), workloads_source(store), distrust_source(store)]
    sources += also
    collector = Collector(sources, MeshSettings())
    audit = Audit(store)
    compiler, watch = MeshCompiler(), Watch()
    leases = Leases(store)
    demand = Demand(store, collector.workload)
    hub: Hub[Mesh] = Hub(compiler, audit.record, observer=Connections(leases, demand, watch, collector.workload))
    recorder = Recorder(store, watch, hub.wait_revision, lambda: owned_keys(source.contents))
    builds = Builds(collector, hub, compiler, Modes(store), recorder=recorder)
    certificates = ServerCertificates(authority, (), home.control_plane, 3600)
    """Everything, running."""
    faults: list[Problem] = []
    admin, agents = _bound(), _bound()
    where = f"127.0.0.1:{agents.getsockname()[1]}"
    enrolment = EnrolmentSettings("127.0.0.1:1", where, str(certificates.current.value.identity), 3600.0)
    reviews = token_reviews(cluster, audit)
    telling = Telling(hub, builds.compiled, heard := Heard())
    keeper = TrafficKeeper(lambda: len(collector.snapshot.workloads))
    parts = ApiContext(
        store,
        leases,
        authority,
        collector,
        hub,
        audit,
        builds.compiled,
        enrolment,
        recorder,
        source.contents,
        lambda: (*faults, *recorder.problems()),
        applied=applied,
        traffic=keeper,
        reports=keeper,
        heard=heard,
        token_keys=TokenKeys(home.ca, authority.trust_domain),
        kubernetes=kubernetes,
        replicas=Replicas(boot=telling.boot),
        token_reviews=next(iter(reviews), None),
    )
    running: list[Running] = [collector, builds, audit, recorder, keeper, *reviews]
    tasks = [asyncio.create_task(one.run()) for one in running]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving(admin_application(parts, TOKEN), admin))
        await stack.enter_async_context(_serving_agents(AgentApi(parts, telling), agents, certificates.tls, home))
        async with asyncio.timeout(60):
            await builds.compiled.changed(0)
        yield Rig(parts, home, files, store, f"http://127.0.0.1:{admin.getsockname()[1]}", where, faults, telling)
        for task in tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
