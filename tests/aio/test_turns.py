"""Long work on the event loop gives way to others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from weft.aio.turns import Turns
from weft.sources.following import BucketChange
from weft.sources.mirror import Mirror
from weft.store.protocol import Entry


class Others:
    """Counts how often somebody else had their turn."""

    count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@contextlib.contextmanager
def others() -> Iterator[Others]:
    found = Others()
    running = asyncio.create_task(found.run())
    yield found
    running.cancel()


async def test_short_work_gives_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.aio.turns.TURN_SECONDS", 60.0)
    turns = Turns()
    with others() as found:
        for _ in range(1000):
            await turns.give()
        assert found.count == 0


async def test_many_entries_are_decoded_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.aio.turns.TURN_SECONDS", -1.0)
    mirror: Mirror[bytes] = Mirror(lambda entry, _: (entry.value, ()))
    entries = tuple(Entry("documents", f"a/{number:03d}", b"x", 1, 0.0) for number in range(100))
    with others() as found:
        await mirror.take(BucketChange(1, entries, whole=True))
        assert found.count >= 100
    assert len(mirror.values) == 100
