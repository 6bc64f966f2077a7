"""Changes of the mutual-TLS mode, and of what ports carry, in steps: no caller is ahead of what a server accepts.

With several replicas of the control plane each takes the steps for its proxies, and waits for the others at each.

First the ports concerned accept mutual TLS and plaintext, requests and connections, while callers go on as before; then
callers change; then the ports accept only what is asked for. Each step is confirmed by the proxies before the next.
Where it stands is kept: a control plane that is killed between two steps is followed by one that goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

from weft.admin.replicas.steps import Steps
from weft.controlplane.modes import Documents, Modes
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.differences import exchanged
from weft.mesh.model import Mesh
from weft.mesh.policies.meshconfig import settings_documents, settings_of
from weft.mesh.policies.peerauthentication import PeerPolicies, changes_mode, peer_documents, peer_policies_of
from weft.mesh.services.catalog import frontends_of
from weft.mesh.services.turning import NO_TURNS, Phase, Turns, turns_between
from weft.mesh.steps import NO_STEP, Step
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.sources.collector import Collector

_log = logging.getLogger("weft.builds")
STEP_SECONDS = 3.0
"""How long a step waits for proxies that do not answer: what changes in the mesh waits that long, too. One that is not
connected is waited for as long as it takes to come back."""
LINGER_SECONDS = 60.0
"""How long requests are carried in connections of the time when a port carried these. Those that end by themselves when
their listener changes have ended by then."""
LONGEST_SECONDS = 12.0
"""No step takes longer, whoever comes and goes: where workloads change all the time there may always be one."""


class Changeover:
    """Takes the mesh from one set of documents to the next. Workloads go on changing meanwhile."""

    def __init__(
        self,
        collector: Collector,
        hub: Hub[Mesh],
        compiler: MeshCompiler,
        modes: Modes,
        publish: Callable[[Mesh, tuple[Workload, ...], int], Awaitable[None]],
    ) -> None:
        self.steps: Steps | None = None
        """Those that are taken together with other replicas."""
        self._number = 0
        self._collector = collector
        self._hub = hub
        self._compiler = compiler
        self._modes = modes
        self._publish = publish
        self._turned = NO_TURNS
        self._until = 0.0
        self.last = NO_STEP
        """What is to be told beside what documents say, when all steps are over."""

    def lingers(self) -> float | None:
        """The seconds until `end` is to be called; None: there is nothing to end."""
        if self.last is NO_STEP:
            return None
        return max(self._until - asyncio.get_running_loop().time(), 0.0)

    def end(self) -> None:
        """From now on nothing is to be told beside what documents say."""
        self._turned, self.last = NO_TURNS, NO_STEP

    async def run(self, before: Documents, after: ConfigSnapshot, revision: int) -> tuple[Workload, ...]:
        """Take every step but the last, if there is one to take: to publish `after` with the workloads returned."""
        gone, come = exchanged(before, after.documents)
        turns = _turns(gone, come)
        modes = any(peer_documents(each) or settings_documents(each) for each in (gone, come))
        if turns is NO_TURNS and not modes and not self._modes.turning:
            if self._modes.halfway:  # another replica wrote so when one had ended the change
                await self._modes.keep(after.documents)
            return after.workloads
        workloads = after.workloads
        policies = self._policies(before, after) if modes else None
        if policies is not None or turns is not NO_TURNS:
            earlier, later = policies or (None, None)
            there = {each.key for each in come}
            self._begin(come, [each for each in gone if each.key not in there], turns)
            turning = tuple(each for each in gone if each.key in {name.object for name in turns.changes})
            if self._modes.halfway:
                self._number = len(turns.before())
            else:
                if turning:
                    await self._modes.keep(before, turning=turning)
                for phase in turns.before():
                    await self._step(replace(after, documents=before), self._at(later, turns, phase), revision)
                await self._modes.keep(before, halfway=True, turning=turning)
            for phase in turns.after():
                workloads = await self._step(after, self._at(earlier, turns, phase), revision)
            if self.steps is not None:
                self.steps.end()
        await self._modes.keep(after.documents)
        self._linger(turns)
        return workloads

    def _begin(self, come: Sequence[Document[object]], gone: Sequence[Document[object]], turns: Turns) -> None:
        """What makes the change is what comes, and what goes without another in its place."""
        self._number = 0
        if self.steps is not None:
            turned = {name.object for name in turns.changes}
            ports = (each for each in come if each.key in turned)
            modes = (*peer_documents(come), *settings_documents(come))
            self.steps.begin((*modes, *ports), (*peer_documents(gone), *settings_documents(gone)))

    def _at(self, overlap: PeerPolicies | None, turns: Turns, phase: Phase) -> Step:
        """A step of a change of modes and ports, while those that turned shortly before go on as they are."""
        lingering = self._turned.at(Phase.LINGERING)
        return Step(overlap, MappingProxyType({**lingering, **turns.at(phase)}))

    def _linger(self, turns: Turns) -> None:
        """Ports have turned: for a while, requests are carried that come in connections of the time before."""
        turned = Turns(MappingProxyType({**self._turned.changes, **turns.changes}))
        left = turned.at(Phase.LINGERING)
        if turns is not NO_TURNS:
            self._turned, self.last = (turned, Step(None, left)) if left else (NO_TURNS, NO_STEP)
            self._until = asyncio.get_running_loop().time() + LINGER_SECONDS

    def _policies(self, before: Documents, after: ConfigSnapshot) -> tuple[PeerPolicies, PeerPolicies] | None:
        """The policies before and after, if a port of a workload changes its mode between them."""
        old, new = (
            peer_policies_of(documents, settings_of(documents, after.settings).root_namespace)
            for documents in (before, after.documents)
        )
        return (old, new) if changes_mode(old, new, after.workloads) else None

    async def _step(self, snapshot: ConfigSnapshot, step: Step, revision: int) -> tuple[Workload, ...]:
        """Publish the documents of `snapshot`, with the latest workloads, as a step after `revision`. Returns the
        workloads when the proxies have confirmed it or their time is over."""
        collected = self._collector.collected
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._number += 1
        while True:
            version = collected.version
            latest = collected.value.snapshot
            workloads = latest.workloads
            current = replace(snapshot, workloads=workloads, distrusted=latest.distrusted)
            mesh = self._compiler.build(current, step)
            await self._publish(mesh, workloads, revision)
            now = loop.time()
            left = max(begun + STEP_SECONDS - now, self._hub.longest_absence())
            left = min(left, begun + LONGEST_SECONDS - now)
            if await self._is_over(version, left):
                return workloads

    async def _is_over(self, version: int, left: float) -> bool:
        """Whether the step is confirmed or its time is over; False when something changed before."""
        settled = asyncio.ensure_future(self._settled(left))
        changed = asyncio.ensure_future(self._collector.collected.changed(version))
        try:
            await asyncio.wait({settled, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if settled.done() and not settled.result():
                _log.warning(
                    "not every proxy confirmed a step of a change of mutual TLS or of what ports carry; going on"
                )
            return settled.done() or left <= 0
        finally:
            for task in (settled, changed):
                task.cancel()
            await asyncio.gather(settled, changed, return_exceptions=True)

    async def _settled(self, left: float) -> bool:
        """Whether the proxies of all replicas have confirmed the step in that time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + left
        here = await self._hub.settled(left)
        return here and (self.steps is None or await self.steps.taken(self._number, end - loop.time()))


def _turns(gone: Sequence[Document[object]], come: Sequence[Document[object]]) -> Turns:
    """The ports that documents turn which are there before and after."""
    keys = {each.key for each in gone}
    return turns_between(frontends_of(gone), frontends_of(each for each in come if each.key in keys))
