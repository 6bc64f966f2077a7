"""The latest publications: which proxies each of them concerned."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

_ALIKE = 16
"""How many publications back an equal set of proxies is looked for."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One publish: it covers the revisions after `previous` up to `revision`; `changed` are the proxies concerned."""

    previous: int
    revision: int
    changed: frozenset[str]


class History:
    """The latest publications, to find which one covers a revision."""

    def __init__(self, size: int = 1000) -> None:
        self._publications: deque[Publication] = deque(maxlen=size)

    def add(self, revision: int, changed: Iterable[str]) -> None:
        """Note a publication; revisions grow."""
        previous = self._publications[-1].revision if self._publications else revision - 1
        self._publications.append(Publication(previous, revision, self._shared(frozenset(changed))))

    @property
    def latest(self) -> int:
        """The latest revision published; -1 before the first."""
        return self._publications[-1].revision if self._publications else -1

    def covering(self, revision: int) -> Publication | None:
        """The publication that brought `revision`. None: not yet published, or forgotten long ago."""
        for publication in reversed(self._publications):
            if publication.previous < revision <= publication.revision:
                return publication
        return None

    def reaches(self, after: int) -> bool:
        """Whether everything is known that came after a revision, which is none that was never published."""
        forgotten = len(self._publications) == self._publications.maxlen and after < self._publications[0].previous
        return after <= self.latest and not forgotten

    def changed_between(self, after: int, revision: int) -> frozenset[str]:
        """Whom the publications concerned that brought a revision after `after`, up to `revision`."""
        told = [one.changed for one in self._publications if after < one.revision and one.previous < revision]
        return frozenset().union(*told)

    def _shared(self, changed: frozenset[str]) -> frozenset[str]:
        """The equal set of a recent publication: changes that concern the same proxies hold their names once."""
        recent = islice(reversed(self._publications), _ALIKE)
        return next((one.changed for one in recent if one.changed == changed), changed)
