"""What is wrong with the control plane itself: now, the store."""

from __future__ import annotations

import asyncio
import logging

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.store.protocol import Store, StoreError

_INTERVAL = 2.0
_log = logging.getLogger("weft.store")


class Faults:
    """Probes the store and keeps what it found."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._store_error = ""

    def __call__(self) -> tuple[Problem, ...]:
        """The faults now; none when all is well."""
        if not self._store_error:
            return ()
        text = f"{self._store_error}; proxies are served what was known, writes are refused"
        return (Problem(Severity.ERROR, "store-unavailable", text, Origin("store")),)

    async def run(self) -> None:
        """Probe for ever; an empty write touches the file's lock and nothing else."""
        while True:
            try:
                async with asyncio.timeout(10):
                    await self._store.write([])
                self._note("")
            except StoreError as error:
                self._note(str(error))
            except TimeoutError:
                self._note("the store does not answer within 10 s")
            await asyncio.sleep(_INTERVAL)

    def _note(self, error: str) -> None:
        if error and not self._store_error:
            _log.error("%s; serving what is known, refusing writes", error)
        elif self._store_error and not error:
            _log.info("the store answers again")
        self._store_error = error
