"""The host: a node's Envoy, and the workloads that it carries, kept as they are wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from weft.agent.bootstrap import bootstrap_text
from weft.agent.errors import AgentError
from weft.agent.host.carried import CarriedWorkload
from weft.agent.host.parameters import HostParameters
from weft.agent.lifecycle import RESTART, Lifecycle, run_lifecycle
from weft.agent.parameters import RunParameters
from weft.agent.proxy import Proxy, ProxyParameters, open_proxy
from weft.agent.state import State
from weft.model.identity import proxy_name
from weft.model.workload import NodeBinding, Workload, WorkloadState
from weft.processes.log import limit_log
from weft.settings.private import make_private_directory

_LOG = logging.getLogger(__name__)
_LOOK_EVERY = 0.5
_LIMIT_EVERY = 30.0
Key = tuple[str, str]


def run_host(parameters: HostParameters) -> int:
    """Carry workloads until a signal asks to stop. Returns the exit code. Blocks; call it from the main thread."""
    return run_lifecycle(lambda: _HostLifecycle(parameters))


class _HostLifecycle(Lifecycle):
    """The node's own Envoy and registration, and a `CarriedWorkload` for each workload."""

    def __init__(self, parameters: HostParameters) -> None:
        self._parameters = parameters
        self._carried: dict[Key, CarriedWorkload] = {}
        self._leaving: set[CarriedWorkload] = set()
        self._every: dict[Key, CarriedWorkload] = {}
        self._wanted = parameters.wanted() or ()
        self._named = _proxies(self._wanted)
        make_private_directory(parameters.home.root)
        make_private_directory(parameters.home.logs)
        super().__init__(self._open())

    async def live(self) -> int:
        """The node's certificate, its Envoy, then the workloads, for ever."""
        proxy = self.proxy
        if proxy.adopt_envoy():
            _LOG.info("took over the Envoy that was running")
            self.keep(self._enrol_again())
        else:
            await proxy.enrol()
            proxy.envoy.start()
        self._follow(self._wanted)
        if not proxy.envoy.ready.value:
            await proxy.envoy.wait_ready((), self._parameters.timing.ready)
        self.keep(*proxy.keeping(()), self._watch(), self._limit_logs())
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            wanted = await asyncio.to_thread(self._parameters.wanted)
            if wanted is not None and wanted != self._wanted:
                await self._change(wanted)

    async def stop_application(self) -> int | None:
        """Have every workload stop in order, all at once."""
        hurry = asyncio.ensure_future(self.signals.hurry.wait())
        every = {*self._carried.values(), *self._leaving}
        for each in every:
            each.stop()

        def hurried(_: object) -> None:
            for each in every:
                each.hurry()

        hurry.add_done_callback(hurried)
        await _all_ended(every)
        hurry.remove_done_callback(hurried)
        hurry.cancel()
        return 0

    async def run(self) -> int:
        """As others run; what Envoy has read of workloads goes when it has ended."""
        code = await super().run()
        if code != RESTART:
            for each in self._every.values():
                each.remove_files()
        return code

    async def leave(self) -> None:
        """Let the workloads run on without this agent, then Envoy."""
        every = {*self._carried.values(), *self._leaving}
        for each in every:
            each.leave()
        await _all_ended(every)
        await super().leave()

    async def _enrol_again(self) -> None:
        try:
            await self.proxy.enrol(wait=0)
        except AgentError as error:
            _LOG.warning("%s; Envoy goes on as it is", error)

    async def _change(self, wanted: tuple[RunParameters, ...]) -> None:
        """Make what runs what is `wanted`; those that stay the same hear nothing of it."""
        self._leaving = {each for each in self._leaving if not each.ended.is_set()}
        leaving = frozenset(proxy_name(name, namespace) for namespace, name in (each.key for each in self._leaving))
        before, self._named = self._named, _proxies(wanted) | _proxies(self._wanted) | leaving
        if self._named - before:
            try:
                await self.proxy.enrol()
            except AgentError as error:
                _LOG.warning("%s; workloads are as they were", error)
                return
        self._wanted = wanted
        self._follow(wanted)

    def _follow(self, wanted: tuple[RunParameters, ...]) -> None:
        named = {(each.namespace, each.name): each for each in wanted}
        for key in self._carried.keys() - named.keys():
            gone = self._carried.pop(key)
            self._leaving.add(gone)
            gone.stop()
        for key, parameters in named.items():
            if key in self._carried:
                self._carried[key].want(parameters)
            else:
                before = next((each for each in self._leaving if each.key == key), None)
                found = CarriedWorkload(parameters, self.proxy, before)
                self._carried[key] = self._every[key] = found
                self.keep(found.run())

    async def _watch(self) -> None:
        ready = self.proxy.envoy.ready
        while True:
            version = ready.version
            if ready.value:
                self.proxy.set_state(WorkloadState.HEALTHY)
            elif self.proxy.registration.state is not WorkloadState.STARTING:
                self.proxy.set_state(WorkloadState.UNHEALTHY)
            await ready.changed(version)

    async def _limit_logs(self) -> None:
        """Keep what applications say from filling the disk, for ever."""
        while True:
            await asyncio.sleep(_LIMIT_EVERY)
            for each in self._carried.values():
                limit_log(each.log)

    def _open(self) -> Proxy:
        asked = self._parameters
        common = ProxyParameters(
            home=asked.home,
            name=asked.name,
            namespace=asked.namespace,
            service_account=asked.service_account,
            what=f"host {asked.namespace}/{asked.name}",
            plan=("host", asked.service_account),
            active="^$",
            control_plane=asked.control_plane,
            timing=asked.timing,
            carries=True,
        )
        return open_proxy(common, lambda _, __: State(asked.name, asked.namespace), self._node, bootstrap_text)

    def _node(self, _: State) -> Workload:
        asked = self._parameters
        binding = NodeBinding(tuple(sorted(self._named)))
        return Workload(asked.name, asked.namespace, asked.service_account, node=binding)


async def _all_ended(every: Iterable[CarriedWorkload]) -> None:
    for each in every:
        await each.ended.wait()


def _proxies(wanted: tuple[RunParameters, ...]) -> frozenset[str]:
    return frozenset(proxy_name(each.name, each.namespace) for each in wanted)
