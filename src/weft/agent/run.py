"""``weft run``: one application with its sidecar, from the first key to the ordered stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

from weft.agent.bootstrap import BuildBootstrap, bootstrap_text
from weft.agent.errors import EXIT_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, AgentError
from weft.agent.group import run_grouped
from weft.agent.health import checked_addresses, run_health
from weft.agent.inbound_address import check_inbound_capture, inbound_address
from weft.agent.lifecycle import Lifecycle, child_environment, run_lifecycle
from weft.agent.metrics.application import Application, application_of
from weft.agent.naming import VARIABLE as DNS_VARIABLE
from weft.agent.naming import Naming
from weft.agent.parameters import RunParameters
from weft.agent.ports import (
    LOOPBACK,
    allocate_run_ports,
    capture_addresses,
    check_nobody_listens,
    inbound_capture_addresses,
)
from weft.agent.proxy import Proxy, ProxyParameters, open_proxy
from weft.agent.proxy_secret import ProxySecret, wants_secret
from weft.agent.reachability import check_xds, run_reach_check
from weft.agent.seccomp.launching import launching
from weft.agent.seccomp.mode import LOG_FILE, capture_secret, captured_by
from weft.agent.sidecar_environment import replaced_proxy, sidecar_environment
from weft.agent.state import CapturedBy, State, read_state
from weft.agent.strict.confinement import Confinement
from weft.agent.strict.mode import check_strict
from weft.agent.usage import Expected, run_usage
from weft.agent.workload_api.endpoint import VARIABLE, endpoint_address, workload_api
from weft.model.addresses import is_loopback
from weft.model.locality import NOWHERE
from weft.model.workload import SocketAddress, Workload, WorkloadState
from weft.processes.capabilities import CAP_SYS_ADMIN, lower_ambient
from weft.processes.namespaces import NamespaceError, in_thread, inside
from weft.processes.terminal import Terminal, has_terminal
from weft.processes.watch import ProcessWatch, Starting, start_process

_LOG = logging.getLogger(__name__)
_PATIENCE = 5.0
_ACTIVE = r"^http\.inbound.*\.downstream_rq_active$"


def run_workload(parameters: RunParameters, build_bootstrap: BuildBootstrap = bootstrap_text) -> int:
    """Run an application in the mesh until it ends or a signal asks to stop. Returns the exit code: the application's
    own (128+n when a signal ended it), or that of `weft.agent.errors`. Blocks; call it from the main thread."""

    if parameters.group is not None:
        grouped = run_grouped(parameters)
        if isinstance(grouped, int):
            return grouped
        parameters = grouped

    return run_lifecycle(lambda: workload_lifecycle(parameters, build_bootstrap))


def workload_lifecycle(
    parameters: RunParameters,
    build_bootstrap: BuildBootstrap = bootstrap_text,
    carrier: Proxy | None = None,
    output: Path | None = None,
) -> Lifecycle:
    """The life of a workload: with an Envoy of its own, or with that of its `carrier`, whose applications say what they
    have to say into the file `output`. Blocks for a moment; AgentError when it cannot be."""
    directory = parameters.home.workload(parameters.namespace, parameters.name)
    before = read_state(directory)
    running = before is not None and any(one is not None and one.alive for one in (before.envoy, before.application))
    secret = wants_secret(parameters.proxy_auth, directory, running=running)
    host = inbound_address(parameters, before)
    check_inbound_capture(parameters, host)
    captured = captured_by(parameters.capture, parameters.command, before if running else None)
    if captured is CapturedBy.STRICT:
        check_strict(parameters)
    if captured.with_secret and parameters.proxy_auth == "auto":
        secret = True  # its application does not use that proxy, and nobody else is meant to
    addressed = replace(parameters, proxy_host=host, proxy_auth="on" if secret else "off")
    return _SidecarLifecycle(addressed, _open(addressed, build_bootstrap, captured, carrier), output)


class _SidecarLifecycle(Lifecycle):
    """Sidecar, application, health."""

    def __init__(self, parameters: RunParameters, proxy: Proxy, output: Path | None) -> None:
        super().__init__(proxy)
        self._parameters = parameters
        self._output = output
        self._application: ProcessWatch | None = None
        self._terminal: Terminal | None = None
        self._secret = ProxySecret(proxy.directory)
        self._url = self._secret.make(proxy.state.outbound) if parameters.proxy_auth == "on" else ""
        self._naming = Naming(proxy, parameters.dns) if parameters.dns is not None else None
        strict = proxy.state.captured_by is CapturedBy.STRICT
        self._confinement = Confinement(proxy, _called_ports(parameters, proxy.state)) if strict else None
        self._healthy = proxy.state.state is WorkloadState.HEALTHY
        self._was_healthy = proxy.state.state is not WorkloadState.STARTING

    async def live(self) -> int:
        """Certificate, Envoy, application, health: in this order, but for what is adopted."""
        proxy = self.proxy
        listeners = _listeners(proxy.state)
        self.keep(*proxy.first())
        if proxy.source is None:
            self.keep(workload_api(proxy).run())
        has_envoy = proxy.adopt_envoy()
        if proxy.state.application is not None:
            self._application = ProcessWatch(proxy.state.application)
        if has_envoy and (self._application is not None or not self._parameters.command):
            _LOG.info("took over Envoy%s", " and the application that were running" if self._application else "")
            self.keep(self._enrol_again())
            await self._answer_names(adopting=True)
            await self._confine(adopting=True)
        else:
            await self._start_envoy(listeners, has_envoy)
            await self._answer_names(adopting=self._application is not None)
            await self._confine(adopting=self._application is not None)
            if self._application is None and self._parameters.command:
                self._application = self._start_application()
        self.keep(*proxy.keeping(listeners), self._watch_envoy(), self._watch_health(), self._complain())
        if self._parameters.control_plane.server and not is_loopback(self._parameters.proxy_host):
            self.keep(self._check_reach())
        self.keep(self._watch_usage())
        self.manager.ready("the application runs with its proxy" if self._application else "the proxy serves")
        return await self._wait_for_end()

    async def stop_application(self) -> int | None:
        """SIGTERM, then SIGKILL after the grace period."""
        code = await self._stop_application()
        if self._confinement is not None:
            await self._confinement.stop()
        if self._naming is not None:
            await self._naming.stop()
        return code

    async def _stop_application(self) -> int | None:
        if self._application is None:
            return None
        if self._terminal is not None and self._terminal.given:
            self._application.send_group(signal.SIGHUP)  # interactive shells do not end by SIGTERM
        await self._application.stop(self._parameters.timing.grace, self.signals.hurry)
        return self._application.exit_code

    def forward(self, number: int) -> None:
        """Pass a signal on."""
        if self._application is not None:
            self._application.send(number)

    def leave_application(self) -> None:
        """Let it run on."""
        if self._application is not None:
            self._application.forget()
        if self._confinement is not None:
            self._confinement.leave()
        if self._naming is not None:
            self._naming.leave()

    async def _start_envoy(self, listeners: tuple[SocketAddress, ...], running: bool) -> None:
        answer = await self.proxy.enrol()
        if self._parameters.control_plane.server:
            await check_xds(answer.xds)
        if not running:
            self.proxy.envoy.start()
        upstreams = {one.listen: f"{one.service}:{one.port}" for one in self.proxy.state.upstreams}

        def say(address: SocketAddress) -> str:
            service = upstreams.get(address)
            return f"{address} (upstream {service}: is there such a Service?)" if service else str(address)

        await self.proxy.envoy.wait_ready(listeners, self._parameters.timing.ready, say)

    async def _answer_names(self, *, adopting: bool) -> None:
        """Have names answered before the application asks for any. One that runs already is not stopped for want of
        them: they are tried again."""
        naming = self._naming
        if naming is None:
            return
        try:
            if not naming.adopt():
                await naming.start(stays=adopting)
        except AgentError as error:
            if not adopting:
                raise
            _LOG.warning("%s", error)
        self.keep(*naming.keeping())
        if not adopting:
            await naming.known()

    async def _confine(self, *, adopting: bool) -> None:
        """Have a relay before the application starts. One that runs already is not stopped for want of it: nothing gets
        out or in until there is one."""
        confinement = self._confinement
        if confinement is None:
            return
        try:
            if not confinement.adopt():
                await confinement.end()
                await confinement.start()
        except AgentError as error:
            if not adopting:
                raise
            _LOG.warning("%s", error)
        self.keep(*confinement.keeping())

    async def _enrol_again(self) -> None:
        """Everything serves already, so a control plane may be away for as long as it likes."""
        try:
            await self.proxy.enrol(wait=0)
        except AgentError as error:
            _LOG.warning("%s; Envoy and the application go on as they are", error)

    def _start_application(self) -> ProcessWatch:
        command = self._parameters.command
        check_nobody_listens(self.proxy.state.ports, self._namespace)
        inherited = child_environment()
        source = self.proxy.source
        address = endpoint_address(self.proxy) if source is None else source.address
        answering = {} if self._naming is None else {DNS_VARIABLE: self._naming.address}
        found = {VARIABLE: address, **answering, **dict(self._parameters.environment)}
        environment = sidecar_environment(inherited, self.proxy.state, tuple(found.items()), self._url)
        command = self._captured(command)
        if replaced := replaced_proxy(inherited):
            _LOG.info(
                "the proxy in %s is replaced by the sidecar, which reaches http:// hosts outside itself", replaced
            )
        directory = Path(self._parameters.directory) if self._parameters.directory else None
        try:
            if self._output is not None:
                with self._output.open("ab") as output:
                    application = start_process(command, directory, environment, output, starting=self._starting())
            else:
                application = start_process(command, directory, environment, terminal=has_terminal())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AgentError(f"cannot start {command[0]}: no such program or directory", EXIT_NOT_FOUND) from error
        except OSError as error:
            raise AgentError(f"cannot start {command[0]}: {error.strerror}", EXIT_NOT_EXECUTABLE) from error
        except NamespaceError as error:
            raise AgentError(f"cannot start {command[0]}: {self._namespace} {error}") from error
        self.proxy.save(application=application.name)
        return application

    @property
    def _namespace(self) -> str:
        """The file of the network namespace in which the application lives; empty where that is the host's."""
        where = self._parameters.placed
        return where.path if where is not None else ""

    def _starting(self) -> Starting:
        """An application never has the right that the agent and the Envoy of a host may have: to enter namespaces."""
        if self._namespace:
            return partial(inside, self._namespace)
        return partial(in_thread, partial(lower_ambient, CAP_SYS_ADMIN))

    def _captured(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """How `command` is started: by a launcher, if a holder or a relay is to lead its connections."""
        state, directory = self.proxy.state, self.proxy.directory.absolute()
        if self._confinement is not None:
            return self._confinement.starting(command)
        if state.captured_by is not CapturedBy.SECCOMP:
            return command
        return launching(state.capture, state.dns, capture_secret(directory), directory / LOG_FILE, command)

    async def _wait_for_end(self) -> int:
        if self._application is None:
            self._say_sidecar_only()
            await asyncio.Event().wait()
            return 0
        if self._output is not None:
            code = await self._application.wait()
        else:
            self._terminal = Terminal(self._application)
            with self._terminal.shared():
                code = await self._application.wait()
        if code is None:
            _LOG.warning("the application has ended; its exit code is known only to an earlier agent")
            return EXIT_FAILED
        _LOG.info("the application has ended with exit code %d", code)
        return code

    def _say_sidecar_only(self) -> None:
        if not self._parameters.quiet:
            plain = f"http://127.0.0.1:{self.proxy.state.outbound}"
            where = f'"$(cat {self._secret.url_file})"' if self._url else plain
            _LOG.info("no command given; use HTTP_PROXY=%s", where)
            if self.proxy.state.captured_by is CapturedBy.RULES:
                _LOG.info(
                    "or lead connections to port %d: %s", self.proxy.state.capture, self._installing("--user USER")
                )
        if self.proxy.state.inbound_capture:
            _LOG.info("callers are led to port %d by: %s", self.proxy.state.inbound_capture, self._installing())

    def _installing(self, *more: str) -> str:
        """What root runs for the rules."""
        asked = self._parameters
        namespace = ("-n", asked.namespace) if asked.namespace != "default" else ()
        return " ".join(("sudo weft capture install --workload", asked.name, *namespace, *more))

    async def _watch_envoy(self) -> None:
        ready = self.proxy.envoy.ready
        while True:
            version = ready.version
            self._judge()
            await ready.changed(version)

    async def _watch_health(self) -> None:
        addresses = checked_addresses(self._parameters.health, self.proxy.state.ports)
        known = self._healthy if self._was_healthy else None
        await run_health(self._parameters.health, addresses, self._report, known, self._namespace)

    async def _complain(self) -> None:
        """Say why it is not healthy when that takes long: the application may listen on another port."""
        await asyncio.sleep(_PATIENCE + self._parameters.health.delay)
        asked = checked_addresses(self._parameters.health, self.proxy.state.ports)
        if not self._was_healthy and asked:
            addresses = ", ".join(map(str, asked))
            kind = self._parameters.health.kind
            what = f"answers http:{self._parameters.health.path}" if kind == "http" else "listens"
            _LOG.warning(
                "not healthy after %g s: nothing %s at %s", _PATIENCE + self._parameters.health.delay, what, addresses
            )

    async def _check_reach(self) -> None:
        ready = self.proxy.envoy.ready
        while not ready.value:
            await ready.changed(ready.version)
        await run_reach_check(self.proxy.client, tuple(port.inbound for port in self.proxy.state.ports))

    async def _watch_usage(self) -> None:
        asked = self._parameters
        expected = Expected(bool(asked.uses or asked.upstreams), bool(asked.ports), asked.timing.unused)
        await run_usage(self.proxy.envoy.admin, expected, self._report_unused)

    def _report_unused(self, unused: bool) -> None:
        if unused:
            _LOG.warning(
                "the application has not used its proxy in %g s, though it %s; does its client heed HTTP_PROXY? see "
                "docs/clients.md",
                self._parameters.timing.unused,
                "says what it uses" if self._parameters.uses or self._parameters.upstreams else "answers with errors",
            )
        self.proxy.registration.set_unused_proxy(unused)

    def _report(self, healthy: bool) -> None:
        self._healthy = healthy
        self._judge()

    def _judge(self) -> None:
        """The state that follows from the application's health and Envoy's."""
        good = self._healthy and self.proxy.envoy.ready.value
        if good:
            self.proxy.set_state(WorkloadState.HEALTHY)
            self._was_healthy = True
        elif self._was_healthy:
            self.proxy.set_state(WorkloadState.UNHEALTHY)


def _called_ports(parameters: RunParameters, state: State) -> tuple[int, ...]:
    """Where callers, health checks and the agent, for metrics, find the application."""
    metrics = _metrics_of(parameters, state)
    called = [port.application for port in state.ports] + ([metrics.address] if metrics is not None else [])
    return tuple(sorted({each.port for each in (*called, *checked_addresses(parameters.health, state.ports))}))


def _metrics_of(parameters: RunParameters, state: State) -> Application | None:
    namespace = parameters.placed.path if parameters.placed is not None else ""
    return application_of(parameters.labels, state.ports, parameters.metrics_port, parameters.metrics_path, namespace)


def _listeners(state: State) -> tuple[SocketAddress, ...]:
    """Where Envoy must listen before the application starts."""
    outbound = (SocketAddress(LOOPBACK, state.outbound), *capture_addresses(state)[:1])
    led = inbound_capture_addresses(state)[:1]
    ports = [port.inbound for port in state.ports]
    inbound = (*led, *[SocketAddress(led[0].host, port.port) for port in ports]) if led else tuple(ports)
    return (*inbound, *outbound, *(upstream.listen for upstream in state.upstreams))


def _open(
    parameters: RunParameters, build_bootstrap: BuildBootstrap, captured: CapturedBy, carrier: Proxy | None
) -> Proxy:
    where = parameters.placed
    plan = (
        "run",
        parameters.command,
        parameters.service_account,
        parameters.labels,
        [{"port": port.port, "application": port.application} for port in parameters.ports],
        parameters.upstreams,
        parameters.uses,
        parameters.scope,
        parameters.proxy_host,
        parameters.environment,
        parameters.directory,
        *(("secret",) if parameters.proxy_auth == "on" else ()),
        *(("locality", str(parameters.locality)) if parameters.locality != NOWHERE else ()),
        *(("metrics", parameters.metrics_port, parameters.metrics_path) if parameters.metrics_port else ()),
        *(("dns", parameters.dns) if parameters.dns is not None else ()),
        *(("capture", parameters.capture, captured) if parameters.capture is not None else ()),
        *(("inbound", parameters.inbound_capture) if parameters.inbound_capture is not None else ()),
        *(("network namespace", where) if where is not None else ()),
    )
    common = ProxyParameters(
        home=parameters.home,
        name=parameters.name,
        namespace=parameters.namespace,
        service_account=parameters.service_account,
        what=f"workload {parameters.namespace}/{parameters.name}",
        plan=plan,
        active=_ACTIVE,
        control_plane=parameters.control_plane,
        timing=parameters.timing,
        metrics_host=parameters.proxy_host,
        application=lambda state: _metrics_of(parameters, state),
        carrier=carrier,
        placed=where,
    )
    return open_proxy(
        common,
        lambda allocator, before: allocate_run_ports(parameters, allocator, before, captured),
        lambda state: _workload(parameters, state),
        build_bootstrap,
    )


def _workload(parameters: RunParameters, state: State) -> Workload:
    names = {port.port: port.name for port in parameters.ports}
    return Workload(
        name=parameters.name,
        namespace=parameters.namespace,
        service_account=parameters.service_account,
        labels=parameters.labels,
        ports=tuple(replace(port, name=names.get(port.port, "")) for port in state.ports),
        outbound=SocketAddress("127.0.0.1", state.outbound),
        upstreams=state.upstreams,
        uses=parameters.uses,
        scope=parameters.scope,
        proxy_secret=parameters.proxy_auth == "on",
        locality=parameters.locality,
        group=parameters.group.name if parameters.group is not None else "",
        weight=parameters.weight,
        dns=parameters.dns is not None,
        capture=capture_addresses(state) if state.captured_by is CapturedBy.RULES else (),
        capture_inside=state.captured_by.with_secret,
        inbound_capture=inbound_capture_addresses(state),
        transparent=state.transparent,
        network_namespace=parameters.placed,
    )
