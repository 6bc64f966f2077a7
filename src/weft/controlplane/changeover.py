"""Changes of the mutual-TLS mode, in steps: no caller is ahead of what a server accepts, and none is left behind.

First the ports concerned accept mutual TLS and plaintext, while callers go on as before; then callers change; then the
ports accept only what is asked for. Each step is confirmed by the proxies before the next. Where it stands is kept: a
control plane that is killed between two steps is followed by one that goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from weft.controlplane.modes import Documents, Modes
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.differences import exchanged
from weft.mesh.model import Mesh
from weft.mesh.policies.meshconfig import settings_documents, settings_of
from weft.mesh.policies.peerauthentication import PeerPolicies, changes_mode, peer_documents, peer_policies_of
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.sources.collector import Collector

_log = logging.getLogger("weft.builds")
STEP_SECONDS = 3.0
"""How long a step waits for proxies that do not answer: what changes in the mesh waits that long, too. One that is not
connected is waited for as long as it takes to come back."""
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
        self._collector = collector
        self._hub = hub
        self._compiler = compiler
        self._modes = modes
        self._publish = publish

    async def run(self, before: Documents, after: ConfigSnapshot, revision: int) -> tuple[Workload, ...]:
        """Take every step but the last, if there is one to take: to publish `after` with the workloads returned."""
        changed = [document for documents in exchanged(before, after.documents) for document in documents]
        if not peer_documents(changed) and not settings_documents(changed):
            return after.workloads
        workloads = after.workloads
        policies = self._policies(before, after)
        if policies is not None:
            earlier, later = policies
            if not self._modes.halfway:
                await self._step(replace(after, documents=before), later, revision)
                await self._modes.keep(before, halfway=True)
            workloads = await self._step(after, earlier, revision)
        await self._modes.keep(after.documents)
        return workloads

    def _policies(self, before: Documents, after: ConfigSnapshot) -> tuple[PeerPolicies, PeerPolicies] | None:
        """The policies before and after, if a port of a workload changes its mode between them."""
        old, new = (
            peer_policies_of(documents, settings_of(documents, after.settings).root_namespace)
            for documents in (before, after.documents)
        )
        return (old, new) if changes_mode(old, new, after.workloads) else None

    async def _step(self, snapshot: ConfigSnapshot, overlap: PeerPolicies, revision: int) -> tuple[Workload, ...]:
        """Publish the documents of `snapshot`, with the latest workloads, as a step after `revision`. Returns the
        workloads when the proxies have confirmed it or their time is over."""
        collected = self._collector.collected
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            version = collected.version
            latest = collected.value.snapshot
            workloads = latest.workloads
            step = replace(snapshot, workloads=workloads, distrusted=latest.distrusted)
            mesh = self._compiler.build(step, overlap)
            await self._publish(mesh, workloads, revision)
            now = loop.time()
            left = max(begun + STEP_SECONDS - now, self._hub.longest_absence())
            left = min(left, begun + LONGEST_SECONDS - now)
            if await self._is_over(version, left):
                return workloads

    async def _is_over(self, version: int, left: float) -> bool:
        """Whether the step is confirmed or its time is over; False when something changed before."""
        settled = asyncio.ensure_future(self._hub.settled(left))
        changed = asyncio.ensure_future(self._collector.collected.changed(version))
        try:
            await asyncio.wait({settled, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if settled.done() and not settled.result():
                _log.warning("not every proxy confirmed a step of a change of mutual TLS; going on")
            return settled.done() or left <= 0
        finally:
            for task in (settled, changed):
                task.cancel()
            await asyncio.gather(settled, changed, return_exceptions=True)
