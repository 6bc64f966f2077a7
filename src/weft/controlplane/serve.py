"""``weft serve``: store, CA, sources, collector, build loop, xDS server, agent API and admin API in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from weft.admin.agents import AgentApi
from weft.admin.api import admin_application
from weft.admin.audit import Audit
from weft.admin.callers import proxy_of
from weft.admin.context import ApiContext, EnrolmentSettings
from weft.admin.guard import admin_token
from weft.admin.server import ServerLimits, serving
from weft.aio.collection import collect_seldom
from weft.ca.authority import Authority, AuthorityError, open_authority, run_rotation
from weft.controlplane.builds import Builds
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.connections import Connections
from weft.controlplane.faults import Faults
from weft.controlplane.lock import locked
from weft.controlplane.modes import Modes
from weft.controlplane.ports import Ports, bind_agent_socket, remove_agent_socket
from weft.controlplane.settings import ServeError, ServeSettings
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.server import serve_xds
from weft.mesh.model import Mesh
from weft.model.addresses import host_and_port, is_wildcard
from weft.model.workload import SocketAddress
from weft.settings.endpoints import DEFAULT_ADMIN_PORT, DEFAULT_AGENT_API_PORT, DEFAULT_XDS_PORT, Endpoints
from weft.settings.open_files import raise_open_files
from weft.settings.private import PermissionsError, remove_unfinished, write_atomically
from weft.sources.collector import Collector
from weft.sources.contents import Source
from weft.sources.demand import Demand
from weft.sources.files import FilesSource
from weft.sources.leases import Leases
from weft.sources.stored import Applied, StoredSource
from weft.sources.workloads import WorkloadsSource
from weft.store.protocol import Store, StoreError
from weft.store.sqlite import open_sqlite
from weft.telemetry.log import set_up_logging

_LOOPBACK = "127.0.0.1"
_log = logging.getLogger("weft.serve")


def serve(settings: ServeSettings) -> int:
    """Run the control plane in this process, logging to stderr, until SIGTERM or SIGINT; the exit code.

    ServeError says why it cannot start.
    """
    set_up_logging(timed=True)
    collect_seldom()
    asyncio.run(run_control_plane(settings))
    return 0


async def run_control_plane(settings: ServeSettings) -> None:
    """Run the control plane until SIGTERM or SIGINT. ServeError says why it cannot start."""
    with locked(settings.home), _stop_signals() as stop:
        try:
            await _run(settings, stop)
        except (StoreError, AuthorityError, PermissionsError, OSError) as error:
            raise ServeError(str(error)) from error
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            if isinstance(first, OSError | StoreError):
                raise ServeError(str(first)) from errors
            raise


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Bound sockets."""

    xds: socket.socket
    agents: socket.socket
    local: socket.socket
    admin: socket.socket


async def _run(settings: ServeSettings, stop: asyncio.Event) -> None:
    home = settings.home
    remove_unfinished(home.control_plane)
    home.endpoints.unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        store = await open_sqlite(home.database)
        stack.push_async_callback(store.close)
        authority = open_authority(home.ca, settings.mesh.trust_domain)
        write_atomically(home.trust_bundle, authority.bundle, 0o644)
        listeners = await stack.enter_async_context(_listening(settings, store))
        await _work(settings, stop, store, authority, listeners)


async def _work(
    settings: ServeSettings, stop: asyncio.Event, store: Store, authority: Authority, listeners: _Listeners
) -> None:
    """Start the tasks and, once the first Mesh is built, the servers; end them in the other order."""
    home = settings.home
    files = FilesSource(settings.follow, settings.namespace) if settings.follow else None
    sources: list[Source] = [files] if files else []
    applied = Applied()
    collector = Collector([*sources, StoredSource(store, applied), WorkloadsSource(store)], settings.mesh)
    audit, faults = Audit(store), Faults(store)
    compiler = MeshCompiler()
    leases = Leases(store, settings.lease)
    demand = Demand(store, collector.workload)
    await demand.load()
    hub = Hub[Mesh](compiler, audit.record, _limits(settings), Connections(leases, demand), demand.of)
    modes = Modes(store)
    await modes.load()
    builds = Builds(collector, hub, compiler, modes)
    hosts = [host for host in (settings.bind, settings.advertise) if host]
    certificates = ServerCertificates(authority, hosts, home.control_plane, settings.certificate_ttl)
    endpoints = _endpoints(settings, listeners)
    identity = str(certificates.current.value.identity)
    enrolment = EnrolmentSettings(
        endpoints.xds, endpoints.agent_api, identity, settings.certificate_ttl, settings.advertise, settings.bind
    )
    contents = files.contents if files else None
    context = ApiContext(
        store, leases, authority, collector, hub, audit, builds.compiled, enrolment, contents, faults, applied=applied
    )
    token = admin_token(home.admin_token)
    forever = (collector, builds, audit, faults, certificates, leases, demand)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in forever]
        tasks.append(group.create_task(run_rotation(authority)))
        await _first_of(builds.compiled.changed(0), stop.wait())
        if not stop.is_set():
            async with AsyncExitStack() as servers:
                await servers.enter_async_context(_serving_xds(listeners.xds, hub, collector, certificates))
                await servers.enter_async_context(_serving_apis(context, listeners, certificates, token))
                write_atomically(home.endpoints, msgspec.json.encode(endpoints))
                servers.callback(home.endpoints.unlink, missing_ok=True)
                _log.info("ready: %s", _listening_at(endpoints, settings.bind))
                await stop.wait()
                _log.info("stopping")
        for task in tasks:
            task.cancel()
    _log.info("stopped")


@contextlib.asynccontextmanager
async def _listening(settings: ServeSettings, store: Store) -> AsyncIterator[_Listeners]:
    """Bind everything, or nothing."""
    ports = Ports(settings.home.control_plane / "ports.json", awaited=bool(await store.leases()))
    with contextlib.ExitStack() as bound:
        usual = (
            ("xds", settings.bind, settings.xds_port, DEFAULT_XDS_PORT, "--xds-port"),
            ("agent-api", settings.bind, settings.agent_api_port, DEFAULT_AGENT_API_PORT, "--agent-port"),
            ("admin", _LOOPBACK, settings.admin_port, DEFAULT_ADMIN_PORT, "--admin-port"),
        )
        xds, agents, admin = [bound.enter_context(await ports.bind(*one)) for one in usual]
        local = bound.enter_context(bind_agent_socket(settings.home))
        bound.callback(remove_agent_socket, settings.home)
        ports.save()
        yield _Listeners(xds, agents, local, admin)


def _endpoints(settings: ServeSettings, listeners: _Listeners) -> Endpoints:
    """The addresses for agents and commands of this host."""
    host = _LOOPBACK if is_wildcard(settings.bind) else settings.bind

    def address(listener: socket.socket) -> str:
        return str(SocketAddress(host, listener.getsockname()[1]))

    admin = f"http://{_LOOPBACK}:{listeners.admin.getsockname()[1]}"
    local = str(settings.home.agent_socket)
    return Endpoints(admin, address(listeners.xds), address(listeners.agents), local, os.getpid())


def _listening_at(endpoints: Endpoints, bind: str) -> str:
    """Where the servers really listen: with a wildcard everywhere, whatever address this host's agents use."""
    xds, agents = (host_and_port(bind, one.rpartition(":")[2]) for one in (endpoints.xds, endpoints.agent_api))
    return f"admin API {endpoints.admin}, xDS {xds}, agent API {agents}"


@contextlib.asynccontextmanager
async def _serving_xds(
    listener: socket.socket, hub: Hub[Mesh], collector: Collector, certificates: ServerCertificates
) -> AsyncIterator[None]:
    """Hand the chosen port over to gRPC, which binds by itself."""
    host, port = listener.getsockname()[:2]
    listener.close()
    async with serve_xds(host, port, material=lambda: certificates.current.value, hub=hub, lookup=collector.workload):
        yield


@contextlib.asynccontextmanager
async def _serving_apis(
    context: ApiContext, listeners: _Listeners, certificates: ServerCertificates, token: str
) -> AsyncIterator[None]:
    """The agent API, for other hosts and for this one, and the admin API."""
    agents, limits, away = AgentApi(context), _server_limits(), context.leases.turned_away
    remote, local = agents.application(local=False), agents.application(local=True)
    admin = admin_application(context, token)
    async with (
        serving(remote, listeners.agents, certificates.tls, limits, identify=proxy_of, turned_away=away),
        serving(local, listeners.local, limits=limits, turned_away=away),
        serving(admin, listeners.admin, limits=limits),
    ):
        yield


def _limits(settings: ServeSettings) -> Limits:
    """Connections end often enough for proxies to show renewed certificates, and leave files for the other servers."""
    limits = settings.limits
    age = min(limits.connection_age, max(1.0, settings.certificate_ttl / 4))
    return replace(limits, connection_age=age, connections=min(limits.connections, raise_open_files() // 2))


def _server_limits() -> ServerLimits:
    usual = ServerLimits()
    return replace(usual, connections=min(usual.connections, raise_open_files() // 8))


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for whichever ends first; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
