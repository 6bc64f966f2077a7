"""What a control plane writes to a Kubernetes API server: status and events, while it is the one that leads."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from weft.admin.context import Compiled
from weft.admin.kubernetes.confirmations import Lacking
from weft.admin.kubernetes.duty import Duty
from weft.admin.kubernetes.events import EventWriter
from weft.admin.kubernetes.writer import StatusWriter
from weft.aio.cell import Cell
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.revisions import USUAL as USUAL_REVISION
from weft.model.revisions import Revision
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.election import USUAL, Terms
from weft.sources.kubernetes.leadership import Leadership
from weft.sources.kubernetes.source import KubernetesSource
from weft.telemetry.metrics import Registry, gauge


@dataclass(frozen=True, slots=True)
class Told:
    """What is written down: a compiled mesh, what is wrong besides it, what proxies have not taken, and where clients
    reach a Gateway, as far as somebody knows (nothing: where its processes say that they listen; None: not known)."""

    compiled: Cell[Compiled]
    problems: Callable[[], tuple[Problem, ...]]
    lacking: Lacking
    reached: Callable[[ObjectKey], tuple[str, ...] | None] = lambda _: ()


class ClusterWrites:
    """See the module. `namespace` is that of the Leases. Others that write ask `leads` before they begin, and `owns`
    before each write about an object."""

    def __init__(
        self,
        source: KubernetesSource,
        credentials: Credentials,
        namespace: str,
        told: Told,
        registry: Registry,
        revision: Revision = USUAL_REVISION,
        terms: Terms = USUAL,
    ) -> None:
        self._name = source.name
        self._namespace = namespace
        identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._client = ApiClient(credentials)
        self._compiled = told.compiled
        self._leadership = Leadership(self._client, namespace, identity, revision, terms)
        text = "Writes of status and of events to Kubernetes, by what came of them."
        counter = registry.counter("weft_kubernetes_writes_total", text, "what", "outcome")

        def problems(compiled: Compiled) -> tuple[Problem, ...]:
            return (*told.problems(), *compiled.problems)

        self._statuses = StatusWriter(
            self._client,
            source,
            told.compiled,
            told.lacking,
            Duty(self.leads, self.owns),
            problems,
            told.reached,
            lambda outcome: counter.add("status", outcome),
        )
        self._events = EventWriter(
            self._client,
            source,
            told.compiled,
            Duty(self.leads, self.owns),
            problems,
            identity,
            lambda outcome: counter.add("event", outcome),
        )
        source.told = self._statuses.wake
        text = "Whether this control plane is the one that writes to Kubernetes."
        registry.read(lambda: [gauge("weft_kubernetes_leader", text, float(self.leads()))])

    def leads(self) -> bool:
        """Whether this control plane is one that writes."""
        return self._leadership.leads()

    def owns(self, key: ObjectKey) -> bool:
        """Whether it is the one that writes about an object."""
        return self._leadership.owns(key, self._compiled.value.documents)

    def problems(self) -> tuple[Problem, ...]:
        """What keeps it from writing; an API server that is away is told by the source."""
        found = []
        for refused in self._leadership.refused:
            expected = f"a Role that allows get, create and update of leases in a namespace '{self._namespace}'"
            found.append(self._problem(f"{refused}; nothing is written", expected))
        refusals = self._statuses.refusals
        if refusals.text:
            kinds = ", ".join(refusals.kinds)
            expected = f"a ClusterRole that allows get of {kinds}, and patch of their status"
            found.append(self._problem(f"{refusals.text}; it stays as it is", expected))
        if self._events.refused:
            text = f"events cannot be written: {self._events.refused}; what is wrong is told here only"
            found.append(self._problem(text, "a ClusterRole that allows create of events.events.k8s.io"))
        return tuple(found)

    async def run(self) -> None:
        """Write for ever. When it is cancelled, another control plane may lead at once."""
        async with self._client, asyncio.TaskGroup() as group:
            for task in (self._lead, self._statuses.run, self._events.run, self._follow):
                group.create_task(task())

    async def _lead(self) -> None:
        """Bid for ever, from the first mesh on: who only starts, and perhaps never comes to an end with it, keeps
        nobody from leading."""
        await self._compiled.changed(0)
        await self._leadership.run()

    async def _follow(self) -> None:
        version = 0
        while True:
            version = await self._leadership.changes.changed(version)
            self._statuses.begin_anew()

    def _problem(self, text: str, expected: str) -> Problem:
        return Problem(Severity.ERROR, "kubernetes-refused", text, Origin(f"{PREFIX}{self._name}"), expected=expected)
