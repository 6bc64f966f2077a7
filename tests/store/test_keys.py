"""Keys of the control plane's own: made once, and the same for everybody who asks."""

from __future__ import annotations

import asyncio

from weft.store.keys import kept_key
from weft.store.memory import MemoryStore


async def test_a_key_is_made_once() -> None:
    store = MemoryStore(lambda: 0.0)
    found = await asyncio.gather(*(kept_key(store, "cookies") for _ in range(10)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert await kept_key(store, "other") != found[0]
