"""The lifecycle of a proxy that starts no application: a gateway, or the sidecar of a pod."""

from __future__ import annotations

import logging

from weft.agent.errors import AgentError
from weft.agent.lifecycle import Lifecycle
from weft.agent.proxy import Proxy
from weft.model.workload import WorkloadState

_LOG = logging.getLogger(__name__)


class ProxyLifecycle(Lifecycle):
    """What its state is, is that of its Envoy alone."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._was_ready = False

    async def _enrol_again(self) -> None:
        """Without waiting: what runs goes on in any case."""
        try:
            await self.proxy.enrol(wait=0)
        except AgentError as error:
            _LOG.warning("%s; Envoy goes on as it is", error)

    async def _watch_envoy(self) -> None:
        """Healthy when it is ready, and no longer when it once was."""
        ready = self.proxy.envoy.ready
        while True:
            version = ready.version
            if ready.value:
                self.proxy.set_state(WorkloadState.HEALTHY)
                self._was_ready = True
            elif self._was_ready:
                self.proxy.set_state(WorkloadState.UNHEALTHY)
            await ready.changed(version)
