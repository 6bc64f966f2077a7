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
from pathlib import Path
from typing import Any

import msgspec

from weft.admin.agents import AgentApi
from weft.admin.api import admin_application
from weft.admin.callers import holder_of, proxy_of
from weft.admin.context import ApiContext, Compiled
from weft.admin.guard import token_in
from weft.admin.local_users import LocalUser
from weft.admin.metrics import metrics_application
from weft.admin.server import Secured, ServerLimits, serving
from weft.agent.workload_api.client import WorkloadApiClient
from weft.aio.cell import Cell
from weft.aio.collection import collect_seldom
from weft.ca.authority import Authority, AuthorityError, open_authority, run_rotation
from weft.ca.token_keys import TokenKeys
from weft.ca.upstream import first_from
from weft.ca.vault import Vault, read_vault
from weft.controlplane.bundle_endpoint import bind_bundle, bundle_url, serving_bundle
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.cluster_authority import ClusterAuthority
from weft.controlplane.composition import Composition, Foundation, compose
from weft.controlplane.identity_roots import IdentityRoots
from weft.controlplane.instruments import Instruments
from weft.controlplane.lock import locked
from weft.controlplane.others import remote_url
from weft.controlplane.ports import Ports, bind_agent_socket, bind_shared_socket, remove_agent_socket
from weft.controlplane.rate_limits import open_counters
from weft.controlplane.settings import ServeError, ServeSettings
from weft.controlplane.shared_state import SharedState, leads_for, rest_for, shared_state
from weft.controlplane.upstream import UpstreamKeeper
from weft.controlplane.webhooks import bind_webhooks, serving_webhooks
from weft.discovery.hub import Hub
from weft.discovery.rate_limits import RateLimitService
from weft.discovery.server import XdsListener, serving_xds
from weft.mesh.model import Mesh
from weft.model.addresses import host_and_port, is_loopback, is_wildcard
from weft.model.workload import SocketAddress
from weft.processes.notify import Notifier
from weft.settings.addresses import outward_address
from weft.settings.endpoints import (
    DEFAULT_ADMIN_PORT,
    DEFAULT_AGENT_API_PORT,
    DEFAULT_METRICS_PORT,
    DEFAULT_XDS_PORT,
    Endpoints,
)
from weft.settings.open_files import raise_open_files
from weft.settings.private import PermissionsError, remove_unfinished, write_atomically
from weft.sources.collector import Collector
from weft.sources.kubernetes.access import Credentials
from weft.store.metered import MeteredStore
from weft.store.protocol import Store, StoreError
from weft.store.sealing.sealed import SealedStore
from weft.store.sealing.wrappers import WrapperSettingsError, wrapper_from_settings
from weft.store.sqlite import open_sqlite
from weft.telemetry.log import set_up_logging
from weft.traffic.edges import UnknownTrafficError

_LOOPBACK = "127.0.0.1"
_UNHEARD_SECONDS = 3.0
"""How long it may take until nobody is led here any more, once this is not ready."""
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
        except (StoreError, AuthorityError, PermissionsError, UnknownTrafficError, OSError) as error:
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
    metrics: socket.socket
    remote_admin: socket.socket | None
    bundle: socket.socket | None
    shared: socket.socket | None = None
    webhooks: socket.socket | None = None


async def _run(settings: ServeSettings, stop: asyncio.Event) -> None:
    home = settings.home
    remove_unfinished(home.control_plane)
    home.endpoints.unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        instruments = Instruments()
        shared = await stack.enter_async_context(shared_state(settings, instruments.registry))
        store = await _open_store(settings, instruments, shared)
        stack.push_async_callback(store.close)
        authority, upstream = await _authority(settings, shared)
        write_atomically(home.trust_bundle, authority.bundle, 0o644)
        listeners = await stack.enter_async_context(_listening(settings, store))
        counters = open_counters(settings.rate_limit_store)
        stack.push_async_callback(counters.close)
        identities = _identities(settings, authority)
        foundation = Foundation(store, authority, instruments, counters, upstream, identities, shared)
        await _work(settings, stop, foundation, listeners)


async def _authority(settings: ServeSettings, shared: SharedState | None) -> tuple[Authority, UpstreamKeeper | None]:
    """The authority in the home, and the task that keeps it fresh where somebody else signs its intermediate."""
    home, trust_domain = settings.home, settings.mesh.trust_domain
    upstream = _upstream(settings)

    async def prepare(directory: Path) -> None:
        """What has to be there, where others take what is made first."""
        if upstream is not None:
            await first_from(upstream, directory, trust_domain, upstream.life)
        if shared is not None:
            open_authority(directory, trust_domain)
            TokenKeys(directory, trust_domain)

    if shared is None:
        await prepare(home.ca)
        authority = open_authority(home.ca, trust_domain)
    else:
        await shared.authority.begin(prepare)
        authority = open_authority(home.ca, trust_domain, shared=shared.authority)
    if upstream is None:
        return authority, None
    leads, rest = leads_for(shared), rest_for(shared)
    return authority, UpstreamKeeper(upstream, authority, upstream.life, leads, sleep=rest)


def _upstream(settings: ServeSettings) -> Vault | ClusterAuthority | None:
    """Who signs the intermediate; None: the mesh's own root does."""
    if settings.ca_vault is not None:
        return read_vault(settings.ca_vault, settings.mesh.trust_domain)
    if settings.ca_cluster is not None and settings.kubernetes is not None:
        return ClusterAuthority(settings.ca_cluster, Credentials(settings.kubernetes.access))
    return None


def _identities(settings: ServeSettings, authority: Authority) -> IdentityRoots | None:
    """The task that follows another source of identities. What an earlier one said is in force no more without it."""
    file = settings.home.ca / "identity-roots.pem"
    if settings.identity_from:
        return IdentityRoots(WorkloadApiClient(settings.identity_from), authority, file)
    file.unlink(missing_ok=True)
    return None


async def _work(settings: ServeSettings, stop: asyncio.Event, foundation: Foundation, listeners: _Listeners) -> None:
    """Start the tasks and, once the first Mesh is built, the servers; end them in the other order."""
    endpoints = _endpoints(settings, listeners)
    parts = await compose(settings, foundation, endpoints, _metrics_address(settings, listeners))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in parts.forever]
        rotation = run_rotation(foundation.authority, foundation.leads, sleep=foundation.rest)
        tasks += [group.create_task(rotation), group.create_task(Notifier().run())]
        await _first_of(parts.context.compiled.changed(0), stop.wait())
        if not stop.is_set():
            async with _serving(parts, settings, listeners, endpoints) as xds:
                tasks.append(group.create_task(_begin_to_lead(foundation, parts.context.compiled)))
                await stop.wait()
                _log.info("stopping")
                Notifier().stopping()
                await _drain(parts.context, xds, settings.drain)
        for task in tasks:
            task.cancel()
    _log.info("stopped")


async def _begin_to_lead(foundation: Foundation, compiled: Cell[Compiled]) -> None:
    """Have this control plane bid for what one does for all, as it serves, once it has a Mesh: it can do its work."""
    while compiled.value.mesh is None:
        await compiled.changed(compiled.version)
    foundation.begin_to_lead()


async def _open_store(settings: ServeSettings, instruments: Instruments, shared: SharedState | None) -> SealedStore:
    """The store, with its secrets sealed. A key that is not there, or the wrong one, does not keep it from opening."""
    if shared is not None:
        await shared.open_keys(sealing=not settings.store_key)
    try:
        keys, directory = (settings.store_key, settings.former_store_key), settings.home.control_plane
        wrapper = wrapper_from_settings(*keys, directory, shared=shared.keys if shared is not None else None)
    except WrapperSettingsError as error:
        raise ServeError(f"--store-key: {error}") from error
    if shared is not None:
        kept: Store = await shared.open_store()
    else:
        kept = await open_sqlite(settings.home.database)
        instruments.stored(settings.home.database)
    store = SealedStore(MeteredStore(kept, instruments.store.observe), wrapper)
    await store.open()
    return store


@contextlib.asynccontextmanager
async def _serving(
    parts: Composition, settings: ServeSettings, listeners: _Listeners, endpoints: Endpoints
) -> AsyncIterator[XdsListener]:
    """All servers, while their addresses are told in the home."""
    home, context, certificates = settings.home, parts.context, parts.certificates
    tokens, path = (token_in(home.admin_token), token_in(home.prometheus_token)), home.endpoints
    async with AsyncExitStack() as servers:
        serving = _serving_xds(listeners.xds, context.hub, context.collector, certificates, parts.rate_limits)
        xds = await servers.enter_async_context(serving)
        await servers.enter_async_context(serving_bundle(context, settings, listeners.bundle, certificates.tls))
        reviewers, registry = parts.webhooks.reviewers, context.registry
        await servers.enter_async_context(serving_webhooks(reviewers, registry, listeners.webhooks, certificates.tls))
        await servers.enter_async_context(_serving_apis(parts, listeners, tokens, settings.users))
        write_atomically(path, msgspec.json.encode(endpoints))
        servers.callback(path.unlink, missing_ok=True)
        _log.info("ready: %s", _listening_at(endpoints, settings.bind))
        Notifier().ready(_listening_at(endpoints, settings.bind))
        yield xds


async def _drain(context: ApiContext, xds: XdsListener, seconds: float) -> None:
    """Serve for so many seconds more, without being ready: first as before, since others hear of that a moment later,
    and then until proxies have left. Whatever else is served goes on meanwhile."""
    if seconds:
        context.stopping.set(True)
        unheard = min(_UNHEARD_SECONDS, seconds / 2)
        await asyncio.sleep(unheard)
        await xds.drain(seconds - unheard)


@contextlib.asynccontextmanager
async def _listening(settings: ServeSettings, store: Store) -> AsyncIterator[_Listeners]:
    """Bind everything, or nothing."""
    ports = Ports(settings.home, awaited=bool(await store.leases()))
    with contextlib.ExitStack() as bound:
        usual = (
            ("xds", settings.bind, settings.xds_port, DEFAULT_XDS_PORT, "--xds-port"),
            ("agent-api", settings.bind, settings.agent_api_port, DEFAULT_AGENT_API_PORT, "--agent-port"),
            ("admin", _LOOPBACK, settings.admin_port, DEFAULT_ADMIN_PORT, "--admin-port"),
        )
        xds, agents, admin = [bound.enter_context(await ports.bind(*one)) for one in usual]
        scraped = ("metrics", settings.bind, settings.metrics_port, DEFAULT_METRICS_PORT, "--metrics-port")
        metrics = bound.enter_context(await ports.bind(*scraped, looked_up=True))
        remote = await _bind_remote_admin(ports, settings)
        if remote is not None:
            bound.enter_context(remote)
        bundle = await bind_bundle(ports, settings)
        if bundle is not None:
            bound.enter_context(bundle)
        webhooks = await bind_webhooks(ports, settings)
        if webhooks is not None:
            bound.enter_context(webhooks)
        local = bound.enter_context(bind_agent_socket(settings.home))
        bound.callback(remove_agent_socket, settings.home)
        shared = None
        if settings.shared_socket is not None:
            shared = bound.enter_context(bind_shared_socket(settings.shared_socket))
            bound.callback(settings.shared_socket.unlink, missing_ok=True)
        ports.save()
        yield _Listeners(xds, agents, local, admin, metrics, remote, bundle, shared, webhooks)


async def _bind_remote_admin(ports: Ports, settings: ServeSettings) -> socket.socket | None:
    wanted = settings.remote_admin
    if wanted is None:
        return None
    usual = ("remote-admin", wanted.host, wanted.port, DEFAULT_ADMIN_PORT, "--admin-bind")
    return await ports.bind(*usual, looked_up=True)


def _endpoints(settings: ServeSettings, listeners: _Listeners) -> Endpoints:
    """The addresses for agents and commands of this host."""
    host = _LOOPBACK if is_wildcard(settings.bind) else settings.bind

    def address(listener: socket.socket) -> str:
        return str(SocketAddress(host, listener.getsockname()[1]))

    admin = f"http://{_LOOPBACK}:{listeners.admin.getsockname()[1]}"
    local = str(settings.home.agent_socket)
    metrics = f"{'http' if is_loopback(settings.bind) else 'https'}://{address(listeners.metrics)}/metrics"
    remote, bundle = remote_url(settings.remote_admin, listeners.remote_admin), bundle_url(listeners.bundle)
    xds, agents = address(listeners.xds), address(listeners.agents)
    webhooks = address(listeners.webhooks) if listeners.webhooks is not None else ""
    return Endpoints(admin, xds, agents, local, os.getpid(), metrics, remote, bundle, webhooks)


def _metrics_address(settings: ServeSettings, listeners: _Listeners) -> SocketAddress:
    """Where Prometheus finds the metrics, perhaps from another host."""
    host = settings.advertise or (outward_address() if is_wildcard(settings.bind) else settings.bind)
    return SocketAddress(host or _LOOPBACK, listeners.metrics.getsockname()[1])


def _listening_at(endpoints: Endpoints, bind: str) -> str:
    """Where the servers really listen: with a wildcard everywhere, whatever address this host's agents use."""
    xds, agents = (host_and_port(bind, one.rpartition(":")[2]) for one in (endpoints.xds, endpoints.agent_api))
    metrics = host_and_port(bind, endpoints.metrics.partition("://")[2].partition("/")[0].rpartition(":")[2])
    remote = f" and {endpoints.remote_admin}" if endpoints.remote_admin else ""
    return f"admin API {endpoints.admin}{remote}, xDS {xds}, agent API {agents}, metrics {metrics}"


@contextlib.asynccontextmanager
async def _serving_xds(
    listener: socket.socket,
    hub: Hub[Mesh],
    collector: Collector,
    certificates: ServerCertificates,
    rate_limits: RateLimitService,
) -> AsyncIterator[XdsListener]:
    """Hand the chosen port over to gRPC, which binds by itself."""
    host, port = listener.getsockname()[:2]
    listener.close()
    async with serving_xds(
        host,
        port,
        material=lambda: certificates.current.value,
        hub=hub,
        lookup=collector.workload,
        others=(rate_limits.handler(),),
    ) as xds:
        yield xds


@contextlib.asynccontextmanager
async def _serving_apis(
    parts: Composition, listeners: _Listeners, tokens: tuple[str, str], users: tuple[LocalUser, ...]
) -> AsyncIterator[None]:
    """The agent API, for other hosts and for this one, the admin API, and the metrics. `tokens` are those of the admin
    and of Prometheus."""
    context, certificates, others = parts.context, parts.certificates, parts.others
    agents, limits, away = AgentApi(context, parts.telling), _server_limits(), context.leases.turned_away
    remote, local = agents.application(local=False), agents.application(local=True)
    admin = admin_application(context, *tokens, others.entrance)
    also = Secured(listeners.remote_admin, others.tls) if listeners.remote_admin and others.tls else None
    tls = None if is_loopback(listeners.metrics.getsockname()[0]) else certificates.tls
    metrics = metrics_application(context, tokens[1], tls=tls is not None)
    shared: contextlib.AbstractAsyncContextManager[None] = contextlib.nullcontext()
    if listeners.shared is not None:
        strangers = agents.application(local=True, users=users)
        shared = serving(strangers, listeners.shared, limits=limits, turned_away=away)
    async with (
        shared,
        serving(remote, listeners.agents, certificates.tls, limits, identify=holder_of, turned_away=away),
        serving(local, listeners.local, limits=limits, turned_away=away),
        serving(admin, listeners.admin, limits=limits, also=also),
        serving(metrics, listeners.metrics, tls, limits, identify=proxy_of),
    ):
        yield


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
