"""Keys of the control plane's own: random, made once, and the same for all replicas."""

from __future__ import annotations

import secrets

from weft.store.protocol import ConflictError, Put, Store
from weft.store.sealing.envelope import is_sealed

BUCKET = "own-keys"
_BYTES = 32


async def kept_key(store: Store, name: str) -> bytes:
    """The key called `name`, made when it is first asked for; one for this run only where the kept one is sealed and
    cannot be opened. StoreError if it cannot be read or kept."""
    entry = await store.get(BUCKET, name)
    if entry is not None and not is_sealed(entry.value):
        return entry.value
    fresh = secrets.token_bytes(_BYTES)
    if entry is not None:
        return fresh
    try:
        await store.write([Put(BUCKET, name, fresh)], {(BUCKET, name): 0})
    except ConflictError:
        return await kept_key(store, name)
    return fresh
