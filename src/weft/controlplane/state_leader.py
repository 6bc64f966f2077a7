"""Who leads for the state that control planes share: the one that has its Lease does what is done once for all of them.

A state has one Lease, whatever the revisions of those that share it, and whether or not they write statuses: who has a
revision's writes what is that revision's (`weft.sources.kubernetes.leadership`). ADR 0241.
"""

from __future__ import annotations

import asyncio
import contextlib

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.election import USUAL, Terms
from weft.sources.kubernetes.elector import Elector
from weft.sources.kubernetes.shared.repository import HEAD
from weft.telemetry.metrics import Registry, gauge


class StateLeader:
    """One candidate, called `identity`, for the Lease that is called as the `state` of a namespace."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        identity: str,
        registry: Registry,
        terms: Terms = USUAL,
        state: str = HEAD,
    ) -> None:
        self._namespace = namespace
        self._works = asyncio.Event()
        self._elector = Elector(client, namespace, identity, state, terms, does="leads for the shared state")
        text = "Whether this control plane is the one that leads for the shared state."
        registry.read(lambda: [gauge("weft_state_leader", text, float(self.leads()))])

    def leads(self) -> bool:
        """Whether this control plane leads now: to be asked before each write."""
        return self._elector.leads

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until it has come to lead, or leads no more."""
        term = self._elector.term
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await term.changed(term.version)

    def problems(self) -> tuple[Problem, ...]:
        """That it can never lead; an API server that is away is told by others."""
        refused = self._elector.refused
        if not refused:
            return ()
        text = f"{refused}; here no history is written, and no root rotated"
        expected = (
            f"a Role that allows create of leases, and get and update of {self._elector.lease}, in a namespace "
            f"'{self._namespace}'"
        )
        return (Problem(Severity.ERROR, "kubernetes-refused", text, Origin("weft"), expected=expected),)

    def begin(self) -> None:
        """This control plane does its work: from now on `run` bids. What only starts, and perhaps never comes to an
        end with it, keeps nobody from leading."""
        self._works.set()

    async def run(self) -> None:
        """Bid for ever, once it is told to begin. When it is cancelled, another may lead at once."""
        await self._works.wait()
        await self._elector.run()
