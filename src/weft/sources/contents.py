"""Contents: what one source holds at one moment, and the Source protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from weft.aio.cell import Cell
from weft.model.bundles import ForeignBundle
from weft.model.distrust import Distrust
from weft.model.document import Document, ObjectKey
from weft.model.instance import Instance
from weft.model.jwks import KeySet
from weft.model.names import Assigned
from weft.model.namespaces import NamespaceView
from weft.model.openid import OpenIdEndpoints
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.trials import Trial
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a source offers. `store_revision` is None for sources that do not follow the store. `endpoints` are
    what OpenID providers say of themselves. Documents of a source that `yields` stand back behind others of the
    same key, and nobody is told: they are meant to be replaced. `sick` are instances that documents describe and that
    do not pass their probes, `instances` what a cluster tells of that has no agent. `view` says
    which namespaces of a cluster are told of (None: all), and contents of two views are not merged.

    Documents are sorted by key, each key once; workloads by namespace and name; ends of trust by key. A tuple
    in which nothing changed is the same object as before, so that nobody has to look through it.
    """

    documents: tuple[Document[object], ...] = ()
    workloads: tuple[Workload, ...] = ()
    distrusted: tuple[Distrust, ...] = ()
    problems: tuple[Problem, ...] = ()
    store_revision: int | None = None
    bundles: tuple[ForeignBundle, ...] = ()
    keys: tuple[KeySet, ...] = ()
    endpoints: tuple[OpenIdEndpoints, ...] = ()
    trials: tuple[Trial, ...] = ()
    assigned: tuple[Assigned, ...] = ()
    yields: bool = False
    sick: tuple[ObjectKey, ...] = ()
    instances: tuple[Instance, ...] = ()
    view: NamespaceView | None = None


class Source(Protocol):
    """Keeps `contents` up to date while `run` runs; None until it has been read once."""

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""

    async def run(self) -> None:
        """Follow for ever. Errors become Problems; what was read last stays."""


def owned_keys(contents: Cell[Contents | None] | None) -> frozenset[ObjectKey]:
    """The objects that a source has now; none where there is no such source."""
    value = contents.value if contents is not None else None
    return frozenset([document.key for document in value.documents]) if value is not None else frozenset()


def kept(new: Document[object], old: Document[object] | None) -> Document[object]:
    """`old` if `new` says the same from the same lines, so that nothing built from it is built again, or if `new`
    cannot be understood and `old` could: the last good version stays in force."""
    if old is None:
        return new
    if isinstance(new.spec, Unreadable) != isinstance(old.spec, Unreadable):
        return old if isinstance(new.spec, Unreadable) else new
    if old.text != new.text or old.lines != new.lines:
        return new
    same = (old.created, old.generation, old.api_version) == (new.created, new.generation, new.api_version)
    return old if same else new


def merged_documents(
    groups: Iterable[Iterable[Document[object]]],
) -> tuple[Mapping[ObjectKey, Document[object]], tuple[Problem, ...]]:
    """One document per key, the first one found, and a Problem for each that stands back."""
    winners: dict[ObjectKey, Document[object]] = {}
    problems = []
    for group in groups:
        for document in group:
            winner = winners.setdefault(document.key, document)
            if winner is not document:
                problems.append(_duplicate(document, winner))
    return winners, tuple(problems)


def _duplicate(loser: Document[object], winner: Document[object]) -> Problem:
    return Problem(
        Severity.ERROR,
        "duplicate-document",
        f"{loser.key} is also defined at {winner.origin}, which stays in force",
        loser.origin,
        object=loser.key,
        expected="one definition: remove this one or the other",
    )


def source_problem(code: str, message: str, source: str, expected: str = "") -> Problem:
    """An error about a source as a whole."""
    return Problem(Severity.ERROR, code, message, Origin(source), expected=expected)
