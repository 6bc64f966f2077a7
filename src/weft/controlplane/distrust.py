"""Trust at the xDS server: whose streams end though their certificates have not; and what is forgotten of those."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from weft.ca.issued import forget_expired
from weft.discovery.peer import Peer
from weft.model.distrust import Distrust, Distrusted, Ended, distrusted_from
from weft.sources.collector import Collector
from weft.store.protocol import Store, StoreError

_INTERVAL = 3600.0


class DistrustKeeper:
    """See the module. `run` is its one task. Of several control planes with one store the one that `leads` forgets."""

    def __init__(
        self,
        store: Store,
        collector: Collector,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._collector = collector
        self._leads = leads
        self._clock = clock
        self._sleep = sleep
        self._of: tuple[Distrust, ...] = ()
        self._index = Distrusted()

    def refusal(self, peer: Peer) -> str:
        """Why a peer is served no more; empty if it is."""
        distrusted = self._collector.snapshot.distrusted
        if distrusted is not self._of:
            self._of, self._index = distrusted, distrusted_from(distrusted)
        found = self._index.refusal(peer.name, peer.identity.namespace, peer.identity.service_account, peer.trust)
        if found is None:
            return ""
        what = (
            "is revoked" if found.ended is Ended.REVOKED else "was removed or revoked after this certificate was issued"
        )
        return f"{found} {what}"

    async def run(self) -> None:
        """Forget certificates that have expired, for ever."""
        while True:
            if self._leads():
                with contextlib.suppress(StoreError):  # the next time; the health check tells
                    await forget_expired(self._store, self._clock())
            await self._sleep(_INTERVAL)
