"""Confirmations: whether the proxies that serve a Gateway have taken what it says. No I/O; the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weft.admin.kubernetes.wanted import Unconfirmed
from weft.discovery.status import Lack
from weft.mesh.services.workloads import gateway_of
from weft.model.addresses import is_wildcard
from weft.model.document import Document, ObjectKey
from weft.model.workload import Workload
from weft.schema.kinds.gateway import ListenerSetSpec

HOLD = 3.0
"""Seconds for which nothing is said of a Gateway that is new or different: proxies confirm sooner than that."""
_NAMED = 3
Lacking = Callable[[str, int, Document[object]], Lack | None]
"""What a proxy has not taken of a revision (`weft.discovery.hub.Hub.lacks`) or, if it is connected to another replica,
of the document that came with it."""


@dataclass(slots=True)
class _Standing:
    document: Document[object]
    revision: int
    since: float
    by: frozenset[tuple[str, str]] = frozenset()
    """The processes that have confirmed it, each a proxy and its pod."""


class Confirmations:
    """What was confirmed by all processes of a Gateway stays so until the document changes, a proxy refuses something,
    or none of these processes is there any more. One that comes beside them changes nothing."""

    def __init__(self, lacking: Lacking, hold: float = HOLD) -> None:
        self._lacking = lacking
        self._hold = hold
        self._standing: dict[ObjectKey, _Standing] = {}
        self._servers: tuple[Workload, ...] = ()
        self._workloads: tuple[Workload, ...] | None = None
        self._revision = 0
        self.awaited = False
        """Whether a Gateway was found that is not confirmed, since `begin`."""

    def begin(self, workloads: tuple[Workload, ...], revision: int, documents: Mapping[ObjectKey, object]) -> None:
        """Another look: at a mesh of this revision, with these workloads and documents."""
        if workloads is not self._workloads:
            self._workloads = workloads
            self._servers = tuple(each for each in workloads if each.gateway is not None)
        self._revision = revision
        self.awaited = False
        for key in [key for key in self._standing if key not in documents]:
            del self._standing[key]

    def held(self, document: Document[object], now: float) -> bool:
        """Whether nothing is to be said of a Gateway yet: a moment later it will be confirmed."""
        found = self.of(document, now)
        return found is not None and not found.refused and now - self._of(document, now).since < self._hold

    def of(self, document: Document[object], now: float) -> Unconfirmed | None:
        """Why a Gateway is not programmed, though it is in force in the mesh. None: it is, or nobody serves it."""
        standing = self._of(document, now)
        waiting: list[str] = []
        servers = self._serving(document)
        there = frozenset((each.speaker, each.pod) for each in servers)
        for server in servers:
            lack = self._lacking(server.speaker, standing.revision, document)
            if lack is not None and lack.refused:
                standing.by = frozenset()
                return Unconfirmed("Invalid", f"{server.speaker} refuses it: {lack.text}", refused=True)
            if lack is not None:
                waiting.append(f"{server.speaker} {lack.text}")
        if not waiting:
            standing.by = there
        if not servers or standing.by & there:
            return None
        self.awaited = True
        more = f", and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
        return Unconfirmed("Pending", f"{'; '.join(waiting[:_NAMED])}{more}")

    def addresses(self, document: Document[object]) -> tuple[str, ...]:
        """Where the processes of a Gateway listen, as far as they say it."""
        found = {_address(each) for each in self._serving(document)}
        return tuple(sorted(found - {""}))[:16]

    def _of(self, document: Document[object], now: float) -> _Standing:
        standing = self._standing.get(document.key)
        if standing is None or standing.document is not document:
            standing = self._standing[document.key] = _Standing(document, self._revision, now)
        return standing

    def _serving(self, document: Document[object]) -> list[Workload]:
        key, spec = document.key, document.spec
        name = f"{key.namespace}/{key.name}"
        if isinstance(spec, ListenerSetSpec):
            name = f"{spec.parent_ref.namespace or key.namespace}/{spec.parent_ref.name}"
        return [each for each in self._servers if gateway_of(each) == name]


def _address(server: Workload) -> str:
    """The address of a gateway's process. That of a pod is not where clients come in."""
    address = server.gateway.address if server.gateway is not None and not server.pod else ""
    return "" if is_wildcard(address) else address
