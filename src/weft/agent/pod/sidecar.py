"""``weft pod proxy``: the proxy of a pod, agent and Envoy, from the first key to the ordered stop.

As a sidecar it starts no application and asks none for its health: the kubelet does. What it serves is led to it by the
rules of ``weft pod init``. As a gateway it is the pod's only container, and listens at the ports of the Gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from weft import __version__
from weft.agent.bootstrap import BuildBootstrap, bootstrap_text
from weft.agent.envoy import NotReadyError
from weft.agent.errors import AgentError
from weft.agent.lifecycle import Lifecycle, run_lifecycle
from weft.agent.metrics.server import Headers, MetricsServer, Pages, Reply, bind
from weft.agent.parameters import Timing
from weft.agent.pod.applications import applications_run
from weft.agent.pod.environment import PodParameters
from weft.agent.pod.ports import CAPTURE, INBOUND_CAPTURE, METRICS, READINESS, READY_PATH
from weft.agent.pod.probing import probe_pages
from weft.agent.ports import LOOPBACK, capture_addresses, inbound_capture_addresses
from weft.agent.proxy import Proxy, ProxyParameters, open_proxy
from weft.agent.proxy_lifecycle import ProxyLifecycle
from weft.agent.state import CapturedBy, State
from weft.model.workload import SocketAddress, Workload, WorkloadPort

_LOG = logging.getLogger(__name__)
_ACTIVE = r"^(http\.inbound\.downstream_rq_active|cluster\.(inbound|outbound|passthrough).*\.upstream_rq_active)$"
"""Requests of callers, and all that is under way to the applications and from them: connections of TCP, too."""
_ACTIVE_OF_GATEWAY = r"^http\.gateway.*\.downstream_rq_active$"
_AFTER = 5.0
"""Seconds of the pod's grace period that are left for Envoy's end."""


def run_pod(parameters: PodParameters, build_bootstrap: BuildBootstrap = bootstrap_text) -> int:
    """Run the sidecar until a signal asks to stop. Returns the exit code: 0 after an ordered stop, or that of
    `weft.agent.errors`. Blocks; call it from the main thread."""

    def make() -> Lifecycle:
        readiness = _bound(parameters.address, READINESS)
        try:
            return _PodLifecycle(parameters, _open(parameters, build_bootstrap), readiness)
        except BaseException:
            readiness.close()
            raise

    return run_lifecycle(make)


class _PodLifecycle(ProxyLifecycle):
    """An Envoy whose applications others start and stop."""

    hurrying = ""

    def __init__(self, parameters: PodParameters, proxy: Proxy, readiness: socket.socket) -> None:
        super().__init__(proxy)
        self._parameters = parameters
        self._listeners = (
            *capture_addresses(proxy.state)[:1],
            *inbound_capture_addresses(proxy.state)[:1],
        )
        self._readiness = MetricsServer(readiness, proxy.files, _nothing, Pages({READY_PATH: self._ready}))

    async def live(self) -> int:
        """Certificate, Envoy, then for ever."""
        proxy, asked = self.proxy, self._parameters
        _LOG.info("weft %s: the proxy of %s at %s", __version__, proxy.parameters.what, asked.address)
        self.keep(self._readiness.run(), *proxy.first())
        if proxy.adopt_envoy():
            _LOG.info("took over the Envoy that was running")
            self.keep(self._enrol_again())
        else:
            await proxy.enrol()
            _LOG.info("registered at %s as service account %s", asked.control_plane.server, asked.service_account)
            proxy.envoy.start()
            await self._wait_ready()
        self.keep(*proxy.keeping(self._listeners), self._watch_envoy())
        await asyncio.Event().wait()
        return 0

    async def stop_application(self) -> int:
        """There is none to stop: the exit code of an ordered end."""
        return 0

    async def _ready(self, headers: Headers) -> Reply:  # noqa: ARG002 - whoever asks is told the same
        if self.signals.stop.is_set():
            return Reply("503 Service Unavailable", "draining")
        if not self.proxy.envoy.ready.value:
            return Reply("503 Service Unavailable", "Envoy has no configuration yet")
        return Reply("200 OK", "ready")

    async def _wait_ready(self) -> None:
        """However long that takes: an end would only make the kubelet start us again."""
        while True:
            try:
                await self.proxy.envoy.wait_ready(self._listeners, self.proxy.parameters.timing.ready)
            except NotReadyError as error:
                _LOG.warning("%s; waiting for it", error)
                await self._enrol_again()
            else:
                return


async def _nothing(accept: str) -> tuple[str, bytes]:  # noqa: ARG001 - there are no metrics here
    return "text/plain", f"the metrics are at port {METRICS}\n".encode()


def _bound(address: str, port: int) -> socket.socket:
    try:
        bound = bind(SocketAddress(address, port))
    except OSError as error:
        raise AgentError(
            f"POD_IP: {address} cannot be bound ({error.strerror}): it is no address of this pod"
        ) from error
    if bound is None:
        raise AgentError(f"port {port} of {address} is taken: no container of the pod may listen there but the proxy")
    return bound


def _open(parameters: PodParameters, build_bootstrap: BuildBootstrap) -> Proxy:
    probes = parameters.probes
    longest = max((probe.timeout_seconds for probe in probes.values()), default=0)
    common = ProxyParameters(
        home=parameters.home,
        name=parameters.name,
        namespace=parameters.namespace,
        service_account=parameters.service_account,
        what=f"pod {parameters.namespace}/{parameters.name}",
        plan=(
            "pod",
            parameters.address,
            parameters.service_account,
            parameters.labels,
            parameters.ports,
            parameters.gateway,
        ),
        active=_ACTIVE_OF_GATEWAY if parameters.gateway else _ACTIVE,
        control_plane=parameters.control_plane,
        timing=Timing(drain=max(parameters.drain, parameters.grace - _AFTER), serve_on=parameters.drain),
        metrics_host=parameters.address,
        needed=(lambda: applications_run(os.getuid())) if parameters.drain else (lambda: False),
        pages=Pages(probe_pages(probes, parameters.address), longest),
    )
    _bound(parameters.address, METRICS).close()  # there, and nowhere else
    return open_proxy(
        common, lambda _, __: _state(parameters), lambda state: _workload(parameters, state), build_bootstrap
    )


def _state(parameters: PodParameters) -> State:
    if parameters.gateway:
        return State(parameters.name, parameters.namespace)
    ports = tuple(
        WorkloadPort(
            port.port,
            SocketAddress(LOOPBACK, port.application or port.port),
            SocketAddress(parameters.address, port.port),
            port.name,
        )
        for port in parameters.ports
    )
    return State(
        parameters.name,
        parameters.namespace,
        ports=ports,
        capture=CAPTURE,
        captured_by=CapturedBy.RULES,
        inbound_capture=INBOUND_CAPTURE,
    )


def _workload(parameters: PodParameters, state: State) -> Workload:
    """What is registered. Of a pod that an API server tells of, the control plane knows better, and believes only who
    it is."""
    return Workload(
        parameters.name,
        parameters.namespace,
        parameters.service_account,
        parameters.labels,
        ports=state.ports,
        capture=capture_addresses(state),
        inbound_capture=inbound_capture_addresses(state),
    )
