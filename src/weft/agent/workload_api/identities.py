"""What an application is given: its X.509-SVID with a key of its own, tokens, and trust bundles, kept up to date.

The key of the application is not Envoy's: it is made here, stays in memory, and its certificate carries no proxy's
name, so that whoever gets hold of it opens nothing at the control plane.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from weft.agent.certificates import renewal_time
from weft.agent.errors import AgentError
from weft.agent.keys import belongs, make_key
from weft.aio.cell import Cell
from weft.ca.token_check import Proven, UnknownKeyError, check_token
from weft.model.bundles import TokenAnswer, TokenKey, TrustAnswer, keys_from_set
from weft.model.enrolment import Issued

_LOG = logging.getLogger(__name__)
_RETRY = 5.0
_RENEWAL_CHECK = 60.0
_UNKNOWN_KEY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Svid:
    """A key (PEM) and its certificate chain (PEM); the times are those of the leaf, epoch seconds."""

    key: str = field(repr=False)
    chain: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Calls:
    """What the control plane is asked for: a certificate for a request, a token for audiences, and bundles. Each raises
    AgentError."""

    certificate: Callable[[str], Awaitable[Issued]]
    token: Callable[[tuple[str, ...]], Awaitable[TokenAnswer]]
    trust: Callable[[], Awaitable[TrustAnswer]]


class Identities:
    """Owns `svid` and `trust`; both are None until somebody wants them. `run` keeps them fresh while somebody does."""

    def __init__(self, calls: Calls, clock: Callable[[], float] = time.time) -> None:
        self.svid: Cell[Svid | None] = Cell(None)
        self.trust: Cell[TrustAnswer | None] = Cell(None)
        self._calls = calls
        self._clock = clock
        self._asked = 0.0
        self._watchers = 0
        self._watched = asyncio.Event()

    async def current_svid(self) -> Svid:
        """The application's certificate, made with the first call. Raises AgentError."""
        svid = self.svid.value
        if svid is None or self._clock() >= svid.not_after:
            svid = await self._renew()
        return svid

    async def current_trust(self, *, fresh: bool = False) -> TrustAnswer:
        """The bundles, not much older than the control plane asks for. What was known last serves where it cannot be
        asked. Raises AgentError where nothing is known."""
        trust = self.trust.value
        age = self._clock() - self._asked
        if trust is not None and age < (_UNKNOWN_KEY_SECONDS if fresh else trust.again):
            return trust
        try:
            return await self._fetch()
        except AgentError:
            if trust is None:
                raise
            return trust

    async def token(self, audiences: tuple[str, ...]) -> TokenAnswer:
        """A JWT-SVID. Raises AgentError."""
        return await self._calls.token(audiences)

    async def check(self, token: str, audience: str) -> Proven:
        """Whose `token` is. Raises TokenError, or AgentError where no bundle is known."""
        try:
            return check_token(token, audience, _keys(await self.current_trust()), self._clock())
        except UnknownKeyError:
            fresh = await self.current_trust(fresh=True)
            return check_token(token, audience, _keys(fresh), self._clock())

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Somebody follows the values: they are kept up to date meanwhile."""
        self._watchers += 1
        self._watched.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look for new bundles, and renew the certificate at half its life, while somebody follows them; for ever."""
        while True:
            await self._watched.wait()
            try:
                await self._refresh()
                trust = self.trust.value
                pause = trust.again if trust is not None else _RETRY
            except AgentError as error:
                _LOG.debug("identities of the application cannot be renewed: %s", error)
                pause = _RETRY
            await sleep(pause)

    async def _refresh(self) -> None:
        svid = self.svid.value
        if svid is not None and self._clock() >= renewal_time((svid.not_before, svid.not_after)):
            await self._renew()
        if self.trust.value is not None:
            await self._fetch()

    async def _renew(self) -> Svid:
        fresh = make_key()
        issued = await self._calls.certificate(fresh.csr)
        if not belongs(fresh.key, issued.chain):
            raise AgentError("the control plane sent a certificate for another key")
        svid = Svid(fresh.key, issued.chain, max(issued.not_before, self._clock()), issued.not_after)
        self.svid.set(svid)
        return svid

    async def _fetch(self) -> TrustAnswer:
        answer = await self._calls.trust()
        self._asked = self._clock()
        if answer != self.trust.value:
            self.trust.set(answer)
        return answer


def _keys(trust: TrustAnswer) -> dict[str, tuple[TokenKey, ...]]:
    return {one.trust_domain: keys_from_set(one.keys) for one in trust.bundles}
