"""The task that keeps the intermediate of an upstream authority fresh, and the roots as that authority has them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from cryptography import x509

from weft.ca.authority import Authority
from weft.ca.protocol import AuthorityError, Upstream
from weft.ca.rotation import Phase, RotationError
from weft.ca.upstream import renew_from
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

_FIRST_RETRY = 5.0
_LONGEST_RETRY = 300.0
_LOOK_SECONDS = 600.0
"""How often the roots are compared: so soon a root that was replaced there is known here."""
_log = logging.getLogger("weft.certificate")


class UpstreamKeeper:
    """One task. While the authority does not answer, what was issued stays valid, new workloads are certified by the
    intermediate that there is, and `problems` tells why nothing comes. Of several control planes with one authority the
    one that `leads` asks, and the others take what it was given."""

    def __init__(
        self,
        upstream: Upstream,
        authority: Authority,
        life: float,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._upstream = upstream
        self._authority = authority
        self._life = life
        self._clock = clock
        self._sleep = sleep
        self._leads = leads
        self._problems: tuple[Problem, ...] = ()

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now."""
        return self._problems

    async def run(self) -> None:
        """Compare and renew for ever; after a failure again with back-off."""
        retry = _FIRST_RETRY
        while True:
            try:
                await self._keep_fresh()
            except (AuthorityError, RotationError, OSError) as error:
                self._tell(error)
                await self._sleep(retry * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load, is no secret
                retry = min(retry * 2, _LONGEST_RETRY)
            else:
                if self._problems:
                    _log.info("%s answers again", self._upstream.name)
                self._problems, retry = (), _FIRST_RETRY
                await self._sleep(_LOOK_SECONDS)

    async def _keep_fresh(self) -> None:
        rotation = self._authority.rotation
        if rotation.phase is not Phase.STEADY or not self._leads():
            return
        theirs = set(x509.load_pem_x509_certificates((await self._upstream.roots()).encode()))
        if theirs == set(self._authority.roots) and self._clock() < self._half():
            return
        if await renew_from(self._upstream, self._authority, self._life, self._clock):
            _log.info("%s has another root: the mesh is rotated to it", self._upstream.name)
        else:
            _log.info("%s has signed a new intermediate", self._upstream.name)

    def _half(self) -> float:
        issuer = self._authority.generations[self._authority.rotation.target].issuer
        return issuer.not_before + (issuer.not_after - issuer.not_before) / 2

    def _tell(self, error: Exception) -> None:
        ends = self._authority.expiries()["intermediate"]
        left = (ends - self._clock()) / 86400
        text = f"{error}; what it signed is good for {left:.1f} days more"
        if not self._problems:
            _log.warning("%s; trying again", text)
        severity = Severity.ERROR if self._clock() > self._half() + (ends - self._half()) / 2 else Severity.WARNING
        expected = "an answer: see whether it runs and whether the token is still good"
        self._problems = (Problem(severity, "authority-unavailable", text, Origin("weft"), expected=expected),)
