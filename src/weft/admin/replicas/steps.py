"""Steps of a change that replicas take together: none of them goes on before the proxies of all have done a step.

Each replica sees a change by itself and takes the same steps. What it has done is told to the others; who does not
answer, or does not see the change, is waited for only as long as a step may take.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.rows import Step, document_digest
from weft.admin.replicas.telling import Telling
from weft.model.document import Document

_ALL = 1_000_000


class Steps:
    """Those of one change at a time."""

    def __init__(self, replicas: Replicas, telling: Telling) -> None:
        self._replicas = replicas
        self._telling = telling

    def begin(self, come: Iterable[Document[object]], gone: Iterable[Document[object]]) -> None:
        """A change begins that documents make which come, and which go without another in their place. What is made
        and then deleted is two changes, and who has done the first has not begun the second."""
        signed = [("+", each) for each in come] + [("-", each) for each in gone]
        digests = sorted(sign + document_digest(each) for sign, each in signed)
        change = hashlib.blake2b(" ".join(digests).encode(), digest_size=12).hexdigest()
        self._telling.step = Step(change, 0)

    async def taken(self, number: int, seconds: float) -> bool:
        """Our proxies have done the step of this number, counted from 1. Waits until those of the others have, too;
        whether they have in that time."""
        own = self._telling.step
        if own is None or not self._replicas.links:
            return True
        self._telling.step = own = Step(own.change, number)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                while not self._replicas.have_taken(own):
                    await self._replicas.news.changed(self._replicas.news.version)
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        """The last step is published."""
        if self._telling.step is not None:
            self._telling.step = Step(self._telling.step.change, _ALL)
