"""Leadership: what one control plane of several writes. There is a Lease for each name of its revision.

Who has the Lease of a name writes what is that revision's: Gateways that ask for it, with all that they become. All
else is the default's. So each object has one writer, also while two revisions stand side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from weft.aio.cell import Cell
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.revisions import DEFAULT, Revision, revision_of, revision_of_namespace
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewaySpec, ListenerSetSpec
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.election import USUAL, Terms
from weft.sources.kubernetes.elector import Elector

NAME = "weft-leader"
"""The Lease of the default; that of another revision has its name behind it. In the namespace of the control plane."""


def lease_of(revision: str) -> str:
    """The name of the Lease of a revision or tag."""
    return NAME if revision == DEFAULT else f"{NAME}-{revision}"


def revisions_of(documents: Iterable[Document[object]]) -> Mapping[ObjectKey, str]:
    """The revision of each Gateway and ListenerSet that is not the default's: its own label says it, else that of its
    namespace; a ListenerSet is its Gateway's."""
    namespaces: dict[str, str] = {}
    gateways: list[tuple[ObjectKey, Labels]] = []
    sets: list[tuple[ObjectKey, ObjectKey]] = []
    for each in documents:
        if isinstance(each.spec, NamespaceSpec):
            if each.labels and (revision := revision_of_namespace(dict(each.labels))):
                namespaces[each.key.name] = revision
        elif isinstance(each.spec, GatewaySpec):
            gateways.append((each.key, each.labels))
        elif isinstance(each.spec, ListenerSetSpec):
            parent = each.spec.parent_ref
            above = ObjectKey(GATEWAY_GROUP, "Gateway", parent.namespace or each.key.namespace, parent.name)
            sets.append((each.key, above))
    found = {
        key: revision
        for key, labels in gateways
        if (revision := revision_of(dict(labels)) or namespaces.get(key.namespace, DEFAULT)) != DEFAULT
    }
    return found | {key: found[above] for key, above in sets if above in found}


class Leadership:
    """One candidate, called `identity`, for the Leases of all names of a revision. `changes` tells when it begins or
    ends to lead for one."""

    def __init__(
        self, client: ApiClient, namespace: str, identity: str, revision: Revision, terms: Terms = USUAL
    ) -> None:
        self._electors = {name: Elector(client, namespace, identity, lease_of(name), terms) for name in revision.names}
        self.changes: Cell[int] = Cell(0)
        self._looked_at: tuple[Document[object], ...] | None = None
        self._revisions: Mapping[ObjectKey, str] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """Of each Lease that the server does not let it write, that it does not."""
        return tuple(each.refused for each in self._electors.values() if each.refused)

    def leads(self, revision: str = "") -> bool:
        """Whether it leads now: for a name, or for any."""
        if not revision:
            return any(each.leads for each in self._electors.values())
        elector = self._electors.get(revision)
        return elector is not None and elector.leads

    def owns(self, key: ObjectKey, documents: tuple[Document[object], ...]) -> bool:
        """Whether it is the one that writes about an object; `documents` are those in force."""
        if documents is not self._looked_at:
            self._looked_at, self._revisions = documents, revisions_of(documents)
        return self.leads(self._revisions.get(key, DEFAULT))

    async def run(self) -> None:
        """Bid for ever. When it is cancelled, another may lead at once."""
        async with asyncio.TaskGroup() as group:
            for each in self._electors.values():
                group.create_task(each.run())
                group.create_task(self._follow(each))

    async def _follow(self, elector: Elector) -> None:
        version = 0
        while True:
            version = await elector.term.changed(version)
            self.changes.set(self.changes.value + 1)
