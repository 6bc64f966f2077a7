"""The host: a node's Envoy, and the workloads that it carries, kept as they are wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from weft.agent.bootstrap import bootstrap_text
from weft.agent.certificates import CertificateFiles
from weft.agent.errors import AgentError
from weft.agent.host.binding import Binding, Names, Seat, node_binding
from weft.agent.host.carried import CarriedWorkload, seats_of
from weft.agent.host.leftover import Leftover, left_behind
from weft.agent.host.namespaces import Namespaces
from weft.agent.host.parameters import HostParameters
from weft.agent.lifecycle import RESTART, Lifecycle, run_lifecycle
from weft.agent.parameters import RunParameters
from weft.agent.proxy import Proxy, ProxyParameters, open_proxy
from weft.agent.state import State
from weft.model.identity import proxy_name
from weft.model.workload import Workload, WorkloadState
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
        wanted = parameters.wanted()
        if wanted is None:  # whoever runs is none the worse for it, and the next agent takes over
            raise AgentError("it cannot be told now which workloads are wanted")
        self._parameters = parameters
        self._namespaces = Namespaces()
        self._wanted = self._namespaces.placed(wanted)
        self._carried: dict[Key, CarriedWorkload] = {}
        self._leaving: set[CarriedWorkload] = set()
        self._leftovers: set[Leftover] = set()
        self._every: dict[Key, CarriedWorkload | Leftover] = {}
        self._status = ""
        make_private_directory(parameters.home.root)
        make_private_directory(parameters.home.logs)
        super().__init__(self._open())
        self._binding = Binding(self.proxy.enrol)

    async def live(self) -> int:
        """The node's certificate, its Envoy, then the workloads, for ever."""
        proxy = self.proxy
        before = left_behind(self._parameters.home, proxy.name)
        self._end_leftovers(before)
        adopted = proxy.adopt_envoy()
        if adopted:
            _LOG.info("took over the Envoy that was running")
            self._binding = Binding(proxy.enrol, frozenset(before))
        self._ask()
        self._tell_waiting()
        if not adopted:
            await self._binding.tell()
            proxy.envoy.start()
        self._follow()
        self.keep(self._binding.run(due=adopted))
        if not proxy.envoy.ready.value:
            await proxy.envoy.wait_ready((), self._parameters.timing.ready)
        self.keep(*proxy.keeping(()), self._watch(), self._limit_logs())
        self._status = self._said()
        self.manager.ready(self._status)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await proxy.enrolled.wait()
            proxy.enrolled.clear()
            self._wanted = await asyncio.to_thread(self._look)
            self._tell_waiting()
            self._follow()

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
        await _all_ended((*every, *self._leftovers))
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

    async def why_not_restart(self) -> str:
        """An agent that does not know which workloads are wanted would look after none until it does."""
        wanted = await asyncio.to_thread(self._parameters.wanted)
        return "it cannot be told now which workloads are wanted" if wanted is None else ""

    async def leave(self) -> None:
        """Let the workloads run on without this agent, then Envoy."""
        every = {*self._carried.values(), *self._leaving}
        for each in every:
            each.leave()
        await _all_ended((*every, *self._leftovers))
        await super().leave()

    def _look(self) -> tuple[RunParameters, ...]:
        """What is wanted now, each where its network namespace is. Blocks for a moment."""
        wanted = self._parameters.wanted()
        if wanted is None:
            wanted = self._wanted
        return self._namespaces.placed(wanted)

    def _tell_waiting(self) -> None:
        """Have `weft ps` know who waits."""
        if self.proxy.state.waiting != self._namespaces.waiting:
            self.proxy.save(waiting=self._namespaces.waiting)

    def _end_leftovers(self, before: dict[Seat, Path]) -> None:
        wanted = {seat.proxy for each in self._wanted for seat in seats_of(each)}
        for seat, directory in before.items():
            if seat.proxy not in wanted:
                found = Leftover(seat, directory, self.proxy)
                self._leftovers.add(found)
                self._every[found.key] = found
                self.keep(found.run())

    def _ask(self) -> None:
        """Have the node's registration name those that are wanted, and all others until they have ended; but nobody
        whose key is not there (yet), although a registration of an earlier life may be."""
        every: list[CarriedWorkload | Leftover] = [*self._carried.values(), *self._leaving, *self._leftovers]
        seats: Names = frozenset().union(*map(seats_of, self._wanted), *(each.seats for each in every))
        wanted = ((each.namespace, each.name) for each in self._wanted)
        keys = {*wanted, *(each.key for each in every)}
        home = self._parameters.home
        able = {
            proxy_name(name, where) for where, name in keys if CertificateFiles(home.workload(where, name)).key.exists()
        }
        self._binding.ask(seats, frozenset(seat for seat in seats if seat.proxy in able))

    def _follow(self) -> None:
        """Make what runs what is wanted; those that stay the same hear nothing of it. Who comes waits until the node's
        registration names it, who goes waits for nothing."""
        self._leaving = {each for each in self._leaving if not each.ended.is_set()}
        self._leftovers = {each for each in self._leftovers if not each.ended.is_set()}
        wanted = {(each.namespace, each.name): each for each in self._wanted}
        for key in self._carried.keys() - wanted.keys():
            gone = self._carried.pop(key)
            self._leaving.add(gone)
            gone.stop()
        self._ask()
        for key, parameters in wanted.items():
            told = seats_of(parameters) <= self._binding.told
            if key in self._carried:
                if told or parameters.network_namespace is not None:
                    self._carried[key].want(parameters if told else _nowhere(parameters))
            elif told and seats_of(parameters):
                self._start(key, parameters)
        if self._status and self._status != self._said():
            self._status = self._said()
            self.manager.status(self._status)

    def _start(self, key: Key, parameters: RunParameters) -> None:
        going: set[CarriedWorkload | Leftover] = {*self._leaving, *self._leftovers}
        before = next((each.ended for each in going if each.key == key), None)
        found = CarriedWorkload(parameters, self.proxy, before)
        self._carried[key] = found
        self._every[key] = found
        self.keep(found.run())

    def _said(self) -> str:
        """For ``systemctl status``."""
        waiting = "".join(f"; {each.name} waits: {each.why}" for each in self._namespaces.waiting)
        serving = sum(1 for each in self._carried.values() if each.seats)
        return f"the proxy serves, for {serving} of {len(self._wanted)} workloads{waiting}"

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
        binding = node_binding(self._binding.able)
        return Workload(asked.name, asked.namespace, asked.service_account, node=binding)


async def _all_ended(every: Iterable[CarriedWorkload | Leftover]) -> None:
    for each in every:
        await each.ended.wait()


def _nowhere(parameters: RunParameters) -> RunParameters:
    """A workload that ends where it was, and waits until the node's registration says where it is to be."""
    where = parameters.network_namespace
    return parameters if where is None else replace(parameters, network_namespace=replace(where, generation=""))
