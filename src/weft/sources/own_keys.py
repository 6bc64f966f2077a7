"""The keys of the mesh's own tokens (JWT-SVIDs) as a key set: a RequestAuthentication names its trust domain only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from weft.aio.cell import Cell
from weft.model.jwks import KeySet, read_key_set
from weft.sources.contents import Contents

_LOOK_SECONDS = 30.0
"""Keys are published an hour before they sign."""


class OwnKeysSource:
    """A source whose contents are one key set, at the trust domain's SPIFFE ID. `published` gives it as a JWK Set."""

    def __init__(
        self,
        trust_domain: str,
        published: Callable[[], str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._uri = f"spiffe://{trust_domain}"
        self._published = published
        self._sleep = sleep
        self._text = ""
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Look for other keys for ever."""
        while True:
            text = read_key_set(self._published()).text
            if text != self._text:
                self._text = text
                self._contents.set(Contents(keys=(KeySet(self._uri, text),)))
            await self._sleep(_LOOK_SECONDS)
