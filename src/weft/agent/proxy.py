"""The proxy of one workload, whole: directory, certificate, bootstrap, Envoy, registration. Sidecar or gateway."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from weft.agent.adopt import adoptable
from weft.agent.binary import find_envoy
from weft.agent.bootstrap import BootstrapInputs, BuildBootstrap
from weft.agent.certificates import CertificateFiles, run_renewal
from weft.agent.client import ControlPlaneClient
from weft.agent.drain import drain
from weft.agent.envoy import Envoy, EnvoyPlace
from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import ControlPlane, Timing
from weft.agent.ports import PortAllocator, allocating
from weft.agent.registration import Registration
from weft.agent.state import DirectoryLock, State, lock_directory, plan_digest, read_state, write_state
from weft.model.enrolment import RegisterResponse
from weft.model.identity import is_dns_label, proxy_name
from weft.model.workload import SocketAddress, Workload, WorkloadState
from weft.processes.name import ProcessName, name_of
from weft.settings.home import Home
from weft.settings.private import PermissionsError, make_private_directory, remove_unfinished, write_atomically

_LOG = logging.getLogger(__name__)
_MAX_NAME = 64
_ADMIN_SOCKET = "admin.sock"


@dataclass(frozen=True, slots=True)
class ProxyParameters:
    """What sidecars and gateways have in common.

    `what` names it for messages; `plan` is all that must be equal for running processes to be adopted; `active`
    selects Envoy's gauges of requests in flight.
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


class Proxy:
    """Built by `open_proxy`; `stop` or `leave` ends it."""

    def __init__(
        self,
        parameters: ProxyParameters,
        state: State,
        lock: DirectoryLock,
        workload: Callable[[State], Workload],
        build_bootstrap: BuildBootstrap,
    ) -> None:
        self.parameters = parameters
        self.directory = parameters.home.workload(parameters.namespace, parameters.name)
        self.state = state
        self._lock = lock
        self._build_bootstrap = build_bootstrap
        home = parameters.home
        self._admin_socket = home.socket(self.directory / _ADMIN_SOCKET)
        self.files = CertificateFiles(self.directory)
        self.files.prepare()
        self.client = ControlPlaneClient(
            parameters.control_plane, home.agent_socket, self.files, parameters.namespace, parameters.name
        )
        self.envoy = Envoy(EnvoyPlace(find_envoy(), self.directory, self._admin_socket), self._envoy_started)
        self.registration = Registration(
            self.client,
            self.files,
            lambda now: dataclasses.replace(workload(self.state), state=now),
            self.envoy.admin.connected,
        )
        self.registration.state = state.state
        self._workload = workload

    def save(self, **changes: object) -> None:
        """Change state.json. On a full disk it stays as it is, which is no reason to stop an application that runs."""
        self.state = dataclasses.replace(self.state, **changes)  # type: ignore[arg-type]
        try:
            write_state(self.directory, self.state)
        except OSError as error:
            _LOG.warning("cannot write down what runs, so a later agent may not find it: %s", error)

    def set_state(self, state: WorkloadState) -> None:
        """Tell the control plane, and a later agent."""
        if state is not self.registration.state:
            _LOG.info("%s", state)
            self.save(state=state)
            self.registration.set_state(state)

    async def enrol(self, wait: float | None = None) -> RegisterResponse:
        """Register and write the bootstrap, waiting up to `wait` seconds (default: as asked) for a control plane."""
        answer = await self.registration.register_patiently(self.parameters.timing.wait if wait is None else wait)
        for problem in answer.problems:
            _LOG.warning("%s", problem)
        workload = self._workload(self.state)
        text = self._build_bootstrap(BootstrapInputs(workload, answer, self._admin_socket))
        path = self.directory / "bootstrap.json"
        before = path.read_text() if path.exists() else ""
        if text == before:
            return answer
        try:
            write_atomically(path, text)
        except OSError as error:
            raise AgentError(f"cannot write {path}: {error.strerror}") from error
        process = self.envoy.process
        if process is not None and process.running:
            _LOG.info("Envoy's bootstrap has changed; restarting Envoy")
            await process.stop(self.parameters.timing.grace)
        return answer

    def adopt_envoy(self) -> bool:
        """Take over the Envoy of an earlier agent if it still runs."""
        if self.state.envoy is None:
            return False
        self.envoy.adopt(self.state.envoy)
        return True

    def keeping(self, listeners: tuple[SocketAddress, ...]) -> tuple[Coroutine[object, object, None], ...]:
        """The work that keeps Envoy, lease and certificate alive, to be run as tasks."""
        return (
            self.envoy.run(listeners, self.parameters.timing.ready),
            self.envoy.run_log_limit(),
            self.registration.run(),
            run_renewal(self.files, self.registration.renew_certificate),
        )

    async def drain(self, hurry: asyncio.Event) -> None:
        """Send callers elsewhere and let requests finish."""
        if self.registration.state is WorkloadState.STARTING:
            return  # nobody calls it yet
        self.save(state=WorkloadState.DRAINING)
        await drain(self.registration, self.envoy.admin, self.parameters.active, self.parameters.timing.drain, hurry)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop Envoy, deregister, and remove what need not stay: all but the log and the ports."""
        await self.envoy.stop(self.parameters.timing.grace, hurry)
        await self.registration.end()
        if not self.parameters.control_plane.server:
            self.files.remove()  # elsewhere the certificate is what lets us join again
        (self.directory / "bootstrap.json").unlink(missing_ok=True)
        self.save(agent=None, envoy=None, application=None, state=WorkloadState.STARTING)
        if self._admin_socket.parent != self.directory:
            with contextlib.suppress(OSError):
                self._admin_socket.parent.rmdir()
        self._lock.release()

    async def leave(self) -> None:
        """End this agent's part and let Envoy run on, to be adopted."""
        await self.envoy.leave()
        self._lock.release()

    def _envoy_started(self, name: ProcessName | None) -> None:
        self.save(envoy=name)


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
        for path in (home.root, home.workloads, directory.parent, directory):
            make_private_directory(path)
        if home.socket(directory / _ADMIN_SOCKET).parent != directory:
            make_private_directory(home.short_directory)
        lock = lock_directory(directory, parameters.what)
        remove_unfinished(directory)
    except (PermissionsError, OSError) as error:
        raise AgentError(f"cannot use {directory}: {error}") from error
    try:
        before = read_state(directory)
        plan = plan_digest(parameters.plan)
        state = adoptable(before, plan, parameters.timing.grace)
        with allocating(home, directory) as allocator:
            if state is None:
                state = dataclasses.replace(allocate(allocator, before), plan=plan)
            state = dataclasses.replace(state, agent=name_of(os.getpid()))
            write_state(directory, state)
        return Proxy(parameters, state, lock, workload, build_bootstrap)
    except BaseException:
        lock.release()
        raise


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
    if len(proxy_name(parameters.name, parameters.namespace)) > _MAX_NAME:
        raise AgentError(f"name and namespace together may have {_MAX_NAME - 1} characters", EXIT_USAGE)
