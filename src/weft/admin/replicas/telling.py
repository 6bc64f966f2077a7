"""What this replica tells the others: its proxies, what they hold of Gateways, what is wrong, what agents said.

Nothing happens unless one of them asks. Then it is looked at a few times a second, for all who ask together.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from itertools import islice

import msgspec

from weft.admin.context import Compiled
from weft.admin.heard import Heard
from weft.admin.replicas.ledger import Ledger
from weft.admin.replicas.rows import Agent, Connected, Page, Standing, Step, Trouble, document_digest, trouble_of
from weft.aio.cell import Cell
from weft.discovery.hub import Hub
from weft.mesh.model import Mesh
from weft.mesh.services.workloads import gateway_of
from weft.model.document import Document, ObjectKey
from weft.model.workload import Workload
from weft.schema.kinds.gateway import GATEWAY_GROUP, ListenerSetSpec

LONGEST_WAIT = 30.0
_LOOK_SECONDS = 0.25
_SLOW_SECONDS = 2.0
_MOST_STANDINGS = 50_000
_MOST_PROBLEMS = 200
_KINDS = frozenset(("Gateway", "ListenerSet"))


class Telling:
    """See the module."""

    def __init__(self, hub: Hub[Mesh], compiled: Cell[Compiled], heard: Heard) -> None:
        self.boot = uuid.uuid4().hex
        self._hub = hub
        self._compiled = compiled
        self._heard = heard
        self.step: Step | None = None
        """How far this replica is in a change that is made in steps."""
        self._ledger = Ledger()
        self._since: dict[ObjectKey, tuple[Document[object], int, str]] = {}
        self._documents: tuple[Document[object], ...] | None = None
        self._workloads: tuple[Workload, ...] | None = None
        self._served: dict[str, list[Workload]] = {}
        self._looked = float("-inf")
        self._slowly = float("-inf")
        self._agents = -1

    async def page(self, boot: str, after: int, wait: float) -> Page:
        """What is new after `after`, which the process `boot` told last; waited for up to `wait` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        number = after if boot == self.boot else 0
        while True:
            self._look(loop.time())
            part = self._ledger.since(number)
            if part.rows or part.gone or part.whole or loop.time() >= end:
                rows = tuple(msgspec.Raw(msgspec.json.encode(row)) for row in part.rows)
                return Page(self.boot, part.number, rows, part.gone, part.whole)
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self, now: float) -> None:
        if now - self._looked < _LOOK_SECONDS / 2:
            return
        self._looked = now
        self._ledger.write(Connected, map(Connected, self._hub.connected()))
        self._ledger.write(Step, (self.step,) if self.step is not None else ())
        self._ledger.write(Standing, islice(self._standings(), _MOST_STANDINGS))
        if self._heard.version != self._agents:
            self._agents = self._heard.version
            self._ledger.write(
                Agent, (Agent(key, one.trust, one.issuer, one.version) for key, one in self._heard.all())
            )
        if now - self._slowly >= _SLOW_SECONDS:
            self._slowly = now
            self._ledger.write(Trouble, map(trouble_of, self._hub.problems()[:_MOST_PROBLEMS]))

    def _standings(self) -> Iterator[Standing]:
        self._follow(self._compiled.value)
        for document, revision, digest in self._since.values():
            key, spec = document.key, document.spec
            name = f"{key.namespace}/{key.name}"
            if isinstance(spec, ListenerSetSpec):
                name = f"{spec.parent_ref.namespace or key.namespace}/{spec.parent_ref.name}"
            for proxy in dict.fromkeys(server.speaker for server in self._served.get(name, ())):
                if proxy in self._hub.connected():
                    lack = self._hub.lacks(proxy, revision)
                    told = (lack.text, lack.refused) if lack is not None else ("", False)
                    yield Standing(str(key), digest, proxy, *told)

    def _follow(self, compiled: Compiled) -> None:
        """Since which revision each Gateway is as it is, and who serves it."""
        if compiled.documents is not self._documents:
            self._documents = compiled.documents
            before, self._since = self._since, {}
            for each in compiled.documents:
                if each.key.group == GATEWAY_GROUP and each.key.kind in _KINDS:
                    known = before.get(each.key)
                    if known is None or known[0] is not each:
                        known = (each, compiled.revision, document_digest(each))
                    self._since[each.key] = known
        if compiled.workloads is not self._workloads:
            self._workloads, self._served = compiled.workloads, {}
            for server in compiled.workloads:
                if server.gateway is not None:
                    self._served.setdefault(gateway_of(server), []).append(server)
