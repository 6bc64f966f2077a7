"""``weft gateway``: a stand-alone Envoy that serves the listeners of a Gateway document."""

from __future__ import annotations

import asyncio
import logging

from weft.agent.bootstrap import BuildBootstrap, bootstrap_text
from weft.agent.lifecycle import Lifecycle, run_lifecycle
from weft.agent.parameters import GatewayParameters
from weft.agent.ports import LOOPBACK, PortAllocator, check_free
from weft.agent.proxy import Proxy, ProxyParameters, open_proxy
from weft.agent.proxy_lifecycle import ProxyLifecycle
from weft.agent.state import State
from weft.model.labels import gateway_labels
from weft.model.locality import NOWHERE
from weft.model.workload import GatewayBinding, SocketAddress, Workload
from weft.settings.addresses import local_address_towards

_LOG = logging.getLogger(__name__)
_ACTIVE = r"^http\.gateway.*\.downstream_rq_active$"
_LOOK_EVERY = 1.0
_LOOKS = 4
"""After so many without a listener, say so: a name may be misspelt."""


def run_gateway(parameters: GatewayParameters, build_bootstrap: BuildBootstrap = bootstrap_text) -> int:
    """Run a gateway until a signal asks to stop. Returns the exit code. Blocks; call it from the main thread."""

    def make() -> Lifecycle:
        return _GatewayLifecycle(parameters, _open(parameters, build_bootstrap))

    return run_lifecycle(make)


class _GatewayLifecycle(ProxyLifecycle):
    """An Envoy without an application."""

    def __init__(self, parameters: GatewayParameters, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._parameters = parameters

    async def live(self) -> int:
        """Certificate, Envoy, then for ever."""
        proxy = self.proxy
        self.keep(*proxy.first())
        if proxy.adopt_envoy():
            _LOG.info("took over the Envoy that was running")
            self.keep(self._enrol_again())
        else:
            await proxy.enrol()
            proxy.envoy.start()
            await proxy.envoy.wait_ready((), self._parameters.timing.ready)
        self.keep(*proxy.keeping(()), self._watch_envoy(), self._say_addresses())
        self.manager.ready("the proxy serves")
        await asyncio.Event().wait()
        return 0

    async def _say_addresses(self) -> None:
        """Say where the gateway listens, whenever that changes."""
        before: frozenset[SocketAddress] = frozenset()
        looks = 0
        while True:
            now = frozenset(await self.proxy.envoy.admin.listeners())
            for address in sorted(now - before):
                _LOG.info("listening on %s", address)
            for address in sorted(before - now):
                _LOG.info("no longer listening on %s", address)
            before = now
            looks += 1
            if looks == _LOOKS and not before:
                name, namespace = self._parameters.gateway, self._parameters.namespace
                _LOG.info("no listener yet; is there a Gateway '%s' in namespace '%s'?", name, namespace)
            await asyncio.sleep(_LOOK_EVERY)


def _open(parameters: GatewayParameters, build_bootstrap: BuildBootstrap) -> Proxy:
    account = parameters.service_account or parameters.gateway
    place = ("locality", str(parameters.locality)) if parameters.locality != NOWHERE else ()
    plan = ("gateway", parameters.address, parameters.offset, parameters.listen, parameters.labels, account, *place)
    common = ProxyParameters(
        home=parameters.home,
        name=parameters.gateway,
        namespace=parameters.namespace,
        service_account=account,
        what=f"gateway {parameters.namespace}/{parameters.gateway}",
        plan=plan,
        active=_ACTIVE,
        control_plane=parameters.control_plane,
        timing=parameters.timing,
        metrics_host=_metrics_host(parameters),
    )
    return open_proxy(
        common,
        lambda allocator, before: _allocate(parameters, allocator, before),
        lambda state: _workload(parameters, account, state),
        build_bootstrap,
    )


def _metrics_host(parameters: GatewayParameters) -> str:
    """Loopback, or this host's address on the way to a control plane elsewhere: what the gateway itself binds may be
    where strangers come in."""
    if not parameters.control_plane.server:
        return LOOPBACK
    try:
        return local_address_towards(*parameters.control_plane.address)
    except OSError:
        return LOOPBACK


def _allocate(parameters: GatewayParameters, allocator: PortAllocator, before: State | None) -> State:
    known = dict(before.listen) if before else {}
    listen = []
    for port, bound in parameters.listen:
        if bound:
            check_free(parameters.address, bound, f"--listen {port}={bound}")
        listen.append((port, bound or allocator.free(parameters.address, known.get(port, 0))))
    return State(parameters.gateway, parameters.namespace, listen=tuple(listen))


def _workload(parameters: GatewayParameters, account: str, state: State) -> Workload:
    ports = tuple((port, SocketAddress(parameters.address, bound)) for port, bound in state.listen)
    binding = GatewayBinding(parameters.gateway, parameters.address, parameters.offset, ports)
    return Workload(
        parameters.gateway,
        parameters.namespace,
        account,
        gateway_labels(parameters.gateway, parameters.labels),
        gateway=binding,
        locality=parameters.locality,
    )
