"""The proxy of one workload, whole: directory, certificate, bootstrap, Envoy, registration. Sidecar or gateway."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from weft.agent.access_logs import remove_empty, run_rotation
from weft.agent.adopt import adoptable
from weft.agent.binary import find_envoy
from weft.agent.bootstrap import BootstrapInputs, BuildBootstrap
from weft.agent.certificates import CertificateFiles, run_renewal
from weft.agent.client import ControlPlaneClient
from weft.agent.drain import drain
from weft.agent.envoy import Envoy, Standing, Wish
from weft.agent.envoy_place import EnvoyPlace
from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.host.carried_envoy import CarriedEnvoy, NodeAdmin
from weft.agent.host.privileges import node_starting
from weft.agent.hot_restart import requested
from weft.agent.identity_source import IdentitySource
from weft.agent.in_use import EnvoyInUse
from weft.agent.metrics.application import Application
from weft.agent.metrics.endpoint import Endpoint
from weft.agent.metrics.own import AgentCounts, own_peer, own_trust_domain
from weft.agent.metrics.push import OtlpPush
from weft.agent.metrics.server import MetricsServer, Pages
from weft.agent.parameters import ControlPlane, Timing
from weft.agent.ports import LOOPBACK, PortAllocator, allocating, bind_metrics
from weft.agent.proxy_secret import ProxySecret
from weft.agent.registration import Registration
from weft.agent.requests import Requests
from weft.agent.revoked import RevokedList
from weft.agent.seccomp.mode import capture_entry, remove_secret
from weft.agent.state import DirectoryLock, State, lock_directory, plan_digest, read_state, write_state
from weft.agent.traffic import TrafficTeller
from weft.agent.versions import EnvoyVersions
from weft.agent.workload_api.client import WorkloadApiClient
from weft.model.addresses import is_loopback
from weft.model.enrolment import RegisterResponse
from weft.model.identity import is_dns_label, proxy_name
from weft.model.network_namespace import NetworkNamespace
from weft.model.telemetry import LOG_DIRECTORY
from weft.model.workload import SocketAddress, Workload, WorkloadState
from weft.processes.name import ProcessName, name_of
from weft.settings.home import Home
from weft.settings.ports import Reservations
from weft.settings.private import PermissionsError, make_private_directory, remove_unfinished, write_atomically
from weft.xds.nodes.names import CarriedName
from weft.xds.policies.tls import CONTROL_PLACE, MESH_PLACE

_LOG = logging.getLogger(__name__)
_ADMIN_SOCKET = "admin.sock"


@dataclass(frozen=True, slots=True)
class ProxyParameters:
    """What sidecars and gateways have in common.

    `what` names it for messages; `plan` is all that must be equal for running processes to be adopted; `active`
    selects Envoy's gauges of requests in flight. `metrics_host` is where its metrics are served, and `application` says
    where those of its application are. `carrier` is the proxy of the node whose Envoy carries it (None: it has one of
    its own), and with `carries` it is that of a node. `placed` is the network namespace of its application. With
    `pages` it is that of a pod: its metrics and these are served in plain from the start, and Envoy speaks aloud.
    While it is `needed` an ordered stop goes on.
    """

    home: Home
    name: str
    namespace: str
    service_account: str
    what: str
    plan: tuple[object, ...]
    active: str
    control_plane: ControlPlane
    timing: Timing
    metrics_host: str = LOOPBACK
    application: Callable[[State], Application | None] = lambda _: None
    carrier: Proxy | None = None
    carries: bool = False
    placed: NetworkNamespace | None = None
    pages: Pages | None = None
    needed: Callable[[], bool] = lambda: False

    @property
    def whose(self) -> CarriedName | None:
        """By what its things are known in the Envoy that carries it."""
        return CarriedName(self.name, self.namespace) if self.carrier is not None else None


class Proxy:
    """Built by `open_proxy`; `stop` or `leave` ends it."""

    def __init__(
        self,
        parameters: ProxyParameters,
        state: State,
        lock: DirectoryLock,
        workload: Callable[[State], Workload],
        build_bootstrap: BuildBootstrap,
        metrics: socket.socket,
        reservations: Reservations,
    ) -> None:
        self.parameters = parameters
        self.directory = parameters.home.workload(parameters.namespace, parameters.name)
        self.state = state
        self._lock = lock
        self._reservations = reservations
        self._workload = workload
        self._build_bootstrap = build_bootstrap
        home = parameters.home
        self._admin_socket = home.socket(self.directory / _ADMIN_SOCKET)
        self.source, self.files = _credentials(parameters, self.directory)
        self.client = ControlPlaneClient(
            parameters.control_plane,
            agent_socket(parameters),
            self.files,
            parameters.namespace,
            parameters.name,
            self.source.prove if self.source is not None else None,
        )
        self.envoy = self._new_envoy()
        self._served: set[str] = set()
        self.enrolled = asyncio.Event()
        """Set whenever a workload that it carries has been."""
        self.adopted = False
        self._serves_again = parameters.carrier is not None and parameters.carrier.has_served(self.name)
        revoked = RevokedList(self.client, self.files)
        self.requests = Requests(self.directory, self.envoy.admin, self.client, revoked.follow)
        self.requests.prepare(fresh=state.envoy is None and not self._serves_again)
        self.registration = self._new_registration()
        self.traffic = TrafficTeller(
            self.client, self.envoy.admin.body, self._counting, lambda: own_trust_domain(self.files.chain)
        )
        self._versions = EnvoyVersions(self.envoy.place.binary)
        self.counts = AgentCounts()
        where = parameters.application(state)
        endpoint = Endpoint(
            self.envoy.admin,
            self.files,
            self.counts,
            where,
            lambda: self.registration.metrics,
            lambda: self.traffic.lag,
        )
        self._metrics = MetricsServer(metrics, self.files, endpoint.answer, parameters.pages)
        self._push = OtlpPush(
            lambda: self.registration.metrics.push, endpoint.families, lambda: own_peer(self.files.chain)[0]
        )

    def _new_registration(self) -> Registration:
        shown = self.source.files if self.source is not None else None
        registration = Registration(
            self.client,
            self.files,
            lambda now: dataclasses.replace(self._workload(self.state), state=now, envoy=self.envoy_version),
            self.envoy.admin.connected,
            EnvoyInUse(self.files, self.envoy.admin, lambda: _runs(self.envoy), shown),
            self._connect_anew,
        )
        registration.state = self.state.state
        return registration

    def _new_envoy(self) -> Envoy:
        drain = max(1, math.ceil(self.parameters.timing.drain))
        aloud = self.parameters.pages is not None
        place = EnvoyPlace(find_envoy(), self.directory, self._admin_socket, drain, aloud)
        carrier, whose = self.parameters.carrier, self.parameters.whose
        if carrier is not None and whose is not None:
            return CarriedEnvoy(carrier.envoy, place, whose, self.parameters.placed)
        envoy = Envoy(place, self._envoy_changed, lambda: self.state.workers)
        if self.parameters.carries:
            envoy.admin = NodeAdmin(self._admin_socket)
            envoy.starting = node_starting(place.binary, self.directory)
        return envoy

    def save(self, **changes: object) -> None:
        """Change state.json. On a full disk it stays as it is, which is no reason to stop an application that runs."""
        self.state = dataclasses.replace(self.state, **changes)  # type: ignore[arg-type]
        try:
            write_state(self.directory, self.state)
        except OSError as error:
            _LOG.warning("cannot write down what runs, so a later agent may not find it: %s", error)

    @property
    def name(self) -> str:
        """The proxy's name."""
        return proxy_name(self.parameters.name, self.parameters.namespace)

    def set_state(self, state: WorkloadState) -> None:
        """Tell the control plane, and a later agent."""
        if state is WorkloadState.HEALTHY:
            self._reservations.release()  # somebody listens at each by now
        if state is not self.registration.state:
            _LOG.info("%s", state)
            self.save(state=state)
            self.registration.set_state(state)

    async def enrol(self, wait: float | None = None) -> RegisterResponse:
        """Register and write the bootstrap, waiting up to `wait` seconds (default: as asked) for a control plane."""
        patience = self.parameters.timing.wait if wait is None else wait
        answer = await self.registration.register_patiently(patience)
        if answer.workers != self.state.workers and not _runs(self.envoy):
            self.save(workers=answer.workers)  # told before Envoy asks: some listeners are others for several threads
            answer = await self.registration.register_patiently(patience)
        for problem in answer.problems:
            _LOG.warning("%s", problem)
        if self.source is not None:
            await self.source.installed(patience)
        if self.parameters.carrier is not None:
            self.parameters.carrier.enrolled.set()
            if self._serves_again:
                await self.envoy.admin.reopen_logs()  # an earlier life's files may be gone
            return answer
        workload, place = self._workload(self.state), MESH_PLACE if self.source is None else CONTROL_PLACE
        entry = capture_entry(self.directory, self.state)
        text = self._build_bootstrap(BootstrapInputs(workload, answer, self._admin_socket, place, *entry))
        path = self.directory / "bootstrap.json"
        try:
            if not path.exists() or path.read_text() != text:
                write_atomically(path, text)
        except OSError as error:
            raise AgentError(f"cannot write {path}: {error.strerror}") from error
        if _runs(self.envoy):
            await self._follow()
        return answer

    async def _follow(self) -> None:
        """Have another Envoy take over where the one that runs is another than would be started now, or someone has
        asked for it."""
        if self.state.bootstrap != self.envoy.place.bootstrap_digest():
            self.envoy.restart(Wish("Envoy's bootstrap has changed", needed=True))
        elif differs := await asyncio.to_thread(self.envoy.differs):
            self.envoy.restart(Wish(differs))
        elif requested(self.directory):
            self.envoy.restart(Wish("asked for another Envoy", asked=True))

    async def _connect_anew(self) -> None:
        """Restart Envoy, which has connections that were made with a certificate nobody accepts any more."""
        process = self.envoy.process
        if process is not None and process.running:
            _LOG.info("trusted again, with a new certificate; restarting Envoy, whose connections have the old one")
            await process.stop(self.parameters.timing.grace)

    def adopt_envoy(self) -> bool:
        """Take over the Envoy of an earlier agent if it still runs."""
        if self._serves_again:
            self.traffic.adopt()  # what it has counted in an earlier life
        if self.state.envoy is None:
            return False
        self._versions.adopt(self._envoys)
        found = self.envoy.place.bootstrap_digest()  # an agent of an earlier version has not noted any
        self.save(
            bootstrap=self.state.bootstrap or found,
            successor_bootstrap=(self.state.successor_bootstrap or found) if self.state.successor else "",
        )
        state = self.state
        digests = state.bootstrap, state.successor_bootstrap
        self.envoy.adopt(Standing(state.envoy, state.hot, state.successor, state.former, *digests))
        self.traffic.adopt()
        self.adopted = True
        return True

    def has_served(self, name: str) -> bool:
        """Whether the Envoy of this node may have served a workload of this name before; from now on it has."""
        before = self.adopted or name in self._served
        self._served.add(name)
        return before

    def first(self) -> tuple[Coroutine[object, object, None], ...]:
        """The work that has to go on before the proxy can be enrolled."""
        source = (self.source.run(),) if self.source is not None else ()
        return (*source, self._metrics.run()) if self.parameters.pages is not None else source

    def keeping(self, listeners: tuple[SocketAddress, ...]) -> tuple[Coroutine[object, object, None], ...]:
        """The work that keeps Envoy, lease and certificate alive, to be run as tasks."""
        return (
            self.envoy.run(listeners, self.parameters.timing.ready),
            self.envoy.run_log_limit(),
            run_rotation(self.directory, self.envoy.admin.reopen_logs),
            self._tell_version(),
            self.registration.run(),
            self.requests.run(),
            run_renewal(self.files, self.registration.renew_certificate, poked=self.registration.certificate_due),
            self.traffic.run(),
            self._push.run(),
            *(() if self.parameters.pages is not None else (self._metrics.run(),)),
        )

    async def drain(self, hurry: asyncio.Event) -> None:
        """Send callers elsewhere and let requests finish."""
        if self.registration.state is WorkloadState.STARTING or self.parameters.carries:
            return  # nobody calls it, yet or ever
        self.save(state=WorkloadState.DRAINING)
        asked, timing = self.parameters, self.parameters.timing
        await drain(
            self.registration, self.envoy.admin, asked.active, timing.drain, hurry, timing.serve_on, asked.needed
        )

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop Envoy, deregister, and remove what need not stay: all but the log and the ports."""
        await self.traffic.last()
        await self.envoy.stop(self.parameters.timing.grace, hurry)
        await self.registration.end()
        if self.parameters.carrier is None:  # else an Envoy that goes on has the files open, and follows them
            self.remove_files()
        ProxySecret(self.directory).remove()
        remove_secret(self.directory)
        (self.directory / "bootstrap.json").unlink(missing_ok=True)
        remove_empty(self.directory)
        self.save(agent=None, envoy=None, application=None, state=WorkloadState.STARTING, waiting=())
        self.release()

    def remove_files(self) -> None:
        """Remove what its Envoy reads and writes."""
        if not self.parameters.control_plane.server:
            self.files.remove()  # elsewhere the certificate is what lets us join again
        if self.source is not None:
            self.source.files.remove()
        self.requests.remove()

    def release(self) -> None:
        """Let another agent have the directory."""
        if self._admin_socket.parent != self.directory:
            with contextlib.suppress(OSError):
                self._admin_socket.parent.rmdir()
        self._reservations.release()
        self._lock.release()

    async def leave(self) -> None:
        """End this agent's part and let Envoy run on, to be adopted."""
        await self.traffic.last()
        await self.envoy.leave()
        self._reservations.release()
        self._lock.release()

    def _envoy_changed(self, now: Standing) -> None:
        self.counts.envoy_starts += now.envoy is not None and now.envoy != self.state.envoy
        self.save(**{field.name: getattr(now, field.name) for field in dataclasses.fields(now)})
        if now.envoy is not None:
            self._versions.follow(self._envoys)

    @property
    def _envoys(self) -> tuple[ProcessName | None, ...]:
        return self.state.envoy, self.state.successor, self.state.former

    async def _tell_version(self) -> None:
        """Register again when Envoy's version has become another, for ever."""
        while True:
            await self._versions.changed.wait()
            self._versions.changed.clear()
            with contextlib.suppress(AgentError):  # the lease's renewal says what is wrong
                await self.registration.register_patiently(0)

    @property
    def envoy_version(self) -> str:
        """What the control plane is told of the Envoy that serves it."""
        carrier = self.parameters.carrier
        return self._versions.told(self._envoys) if carrier is None else carrier.envoy_version

    def _counting(self) -> ProcessName | None:
        """The Envoy whose counts its admin interface tells; none while another takes over, and nobody knows."""
        if self.parameters.carrier is not None:
            return self.parameters.carrier._counting()
        return self.state.envoy if self.state.successor is None else None


def open_proxy(
    parameters: ProxyParameters,
    allocate: Callable[[PortAllocator, State | None], State],
    workload: Callable[[State], Workload],
    build_bootstrap: BuildBootstrap,
) -> Proxy:
    """Prepare the directory, take its lock, find out what an earlier agent left, and choose ports.

    Blocks for a moment; AgentError when it cannot be done.
    """
    _check_names(parameters)
    home = parameters.home
    directory = home.workload(parameters.namespace, parameters.name)
    try:
        for path in (home.root, home.workloads, directory.parent, directory, directory / LOG_DIRECTORY):
            make_private_directory(path)
        if home.socket(directory / _ADMIN_SOCKET).parent != directory:
            make_private_directory(home.short_directory)
        lock = lock_directory(directory, parameters.what)
        remove_unfinished(directory)
    except (PermissionsError, OSError) as error:
        raise AgentError(f"cannot use {directory}: {error}") from error
    reservations = Reservations()
    try:
        before = read_state(directory)
        source = parameters.control_plane.identity_from
        carrier = parameters.carrier
        carried = ("carrier", carrier.name) if carrier is not None else ()
        plan = plan_digest((*parameters.plan, *(("identity", source) if source else ()), *carried))
        state = adoptable(before, plan, parameters.timing.grace, carried=carrier is not None)
        with allocating(home, directory, reservations) as allocator:
            if state is None:
                state = dataclasses.replace(allocate(allocator, before), plan=plan)
            known = before.metrics.port if before is not None and before.metrics is not None else 0
            metrics = bind_metrics(allocator, parameters.metrics_host, known)
            where = SocketAddress(*metrics.getsockname()[:2])
            agent = name_of(os.getpid()) if carrier is None else None  # that of the node answers for it
            state = dataclasses.replace(state, agent=agent, metrics=where, carrier=carrier.name if carrier else "")
            write_state(directory, state)
        described = _with_metrics(workload, parameters)
        return Proxy(parameters, state, lock, described, build_bootstrap, metrics, reservations)
    except BaseException:
        reservations.release()
        lock.release()
        raise


def _credentials(parameters: ProxyParameters, directory: Path) -> tuple[IdentitySource | None, CertificateFiles]:
    """Where the workload's certificate comes from (None: the control plane), and what the control plane certifies."""
    path = parameters.control_plane.identity_from
    workload = CertificateFiles(directory, whose=parameters.whose)
    workload.prepare()
    if not path:
        return None, workload
    workload.refuse("")  # what the mesh's authority revokes is no certificate of another's
    control = CertificateFiles(directory, CONTROL_PLACE)
    control.prepare()
    identity = (parameters.namespace, parameters.service_account)
    source = IdentitySource(WorkloadApiClient(path), identity, workload, control)
    control.then = source.refresh
    return source, control


def agent_socket(parameters: ProxyParameters) -> Path:
    """Where the control plane of this host listens for agents."""
    given = parameters.control_plane.socket
    return Path(given) if given else parameters.home.agent_socket


def _with_metrics(workload: Callable[[State], Workload], parameters: ProxyParameters) -> Callable[[State], Workload]:
    """The workload, with its Envoy's worker threads and where its metrics are: not on loopback to a control plane of
    another host."""
    hidden = bool(parameters.control_plane.server) and is_loopback(parameters.metrics_host)
    carrier = parameters.carrier.name if parameters.carrier is not None else ""
    return lambda state: dataclasses.replace(
        workload(state), metrics=None if hidden else state.metrics, workers=state.workers, carrier=carrier
    )


def _runs(envoy: Envoy) -> bool:
    return envoy.process is not None and envoy.process.running


def _check_names(parameters: ProxyParameters) -> None:
    names = {
        "name": parameters.name,
        "namespace": parameters.namespace,
        "service account": parameters.service_account,
    }
    for what, text in names.items():
        if not is_dns_label(text):
            raise AgentError(
                f"{what} '{text}': expected lower-case letters, digits and '-', at most 63 characters", EXIT_USAGE
            )
