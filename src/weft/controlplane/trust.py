"""The task of root rotation: it moves the authority from step to step once every live proxy has done the one before.

What is awaited comes from the registrations and from what agents say of their Envoys; what is done is the authority's.
The trust bundle for others on this host is written anew at each step, and when a root has been dropped the mesh's epoch
changes, so that proxies close the connections that were made under it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from weft.admin.heard import Heard
from weft.admin.replicas.replicas import Replicas
from weft.ca.authority import Authority
from weft.ca.protocol import AuthorityError
from weft.ca.rotation import PATIENCE, Phase, Rotation, advance
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.settings.private import PermissionsError, write_atomically
from weft.sources.collector import Collector
from weft.sources.leases import Leases
from weft.sources.workloads import workload_key

_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 10.0
_LATE_SECONDS = 600.0
_TOLD = 5
_AUTOMATIC_SHARE = 0.8
"""Of a root's life, after which a new one is made. Two years are left then of the ten that weft's own have."""
_log = logging.getLogger("weft.certificate")


class TrustKeeper:
    """One task. `renewed` is told when the control plane's own certificate has to be made anew. Of several control
    planes with this authority the one that `leads` takes the steps, and all put them in force."""

    def __init__(
        self,
        authority: Authority,
        collector: Collector,
        heard: Heard,
        leases: Leases,
        bundle: Path,
        renewed: Callable[[], None],
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        replicas: Replicas | None = None,
    ) -> None:
        self._replicas = replicas or Replicas()
        self._authority = authority
        self._collector = collector
        self._heard = heard
        self._leases = leases
        self._bundle = bundle
        self._renewed = renewed
        self._leads = leads
        self._clock = clock
        self._sleep = sleep

    def awaited(self) -> dict[str, str]:
        """The registrations whose proxies have not done the current step, and why as far as that is known; and the
        replicas of the control plane whose proxies nobody knows."""
        if self._authority.rotation.phase is Phase.STEADY:
            return {}
        wanted, silent = self._authority.wanted, frozenset(self._leases.silent())
        found = {f"replica {one.replica}": f"its proxies are unknown: {one.why}" for one in self._replicas.unknown()}
        for workload in self._collector.snapshot.workloads:
            key = workload_key(workload.namespace, workload.name)
            said, elsewhere = self._heard.of(key), self._replicas.agents(key)
            in_use = ((said.trust, said.issuer), *((one.trust, one.issuer) for one in elsewhere))
            if workload.pod and not self._leases.here(key) and not elsewhere:
                continue  # its proxy has never joined, or is gone: a lease would have ended
            if not any(wanted.met(*one) for one in in_use):
                found[key] = _why(key in silent, said.version, said.trust, said.trust == wanted.trust)
        return found

    def problems(self) -> tuple[Problem, ...]:
        """Whom a rotation has waited for so long that somebody should look."""
        rotation = self._authority.rotation
        late = rotation.since + rotation.overlap + _LATE_SECONDS
        if rotation.phase is Phase.STEADY or self._clock() < late:
            return ()
        awaited = sorted(self.awaited().items())
        if not awaited:
            return ()
        more = f" and {len(awaited) - _TOLD} more" if len(awaited) > _TOLD else ""
        whom = "; ".join(f"{key}: {why}" for key, why in awaited[:_TOLD])
        text = f"the rotation of the root ({rotation.phase}) waits for {whom}{more}"
        expected = "their agents to run: restart them, or end those workloads (weft ca status)"
        return (Problem(Severity.WARNING, "root-rotation-waits", text, Origin("weft"), expected=expected),)

    async def run(self) -> None:
        """Look at it for ever, and put in force what an operator or this task has changed."""
        changes, version = self._authority.changes, -1
        while True:
            try:
                if changes.version != version:
                    self._put_in_force()
                    version = changes.version
                await self._move()
            except (OSError, AuthorityError, PermissionsError) as error:
                # A full disk, or files that somebody has damaged for all; the state before stays in force
                _log.warning("the rotation of roots cannot go on, trying again: %s", error)
                await self._sleep(_AGAIN_SECONDS)
            if changes.version == version:
                await self._sleep(_LOOK_SECONDS)

    def _put_in_force(self) -> None:
        write_atomically(self._bundle, self._authority.bundle, 0o644)
        self._renewed()
        settings = self._collector.snapshot.settings
        epoch = self._authority.rotation.epoch
        if settings.trust_epoch != epoch:
            self._collector.settle(replace(settings, trust_epoch=epoch))

    async def _move(self) -> None:
        authority, now = self._authority, self._clock()
        before = authority.rotation
        if not self._leads():
            return
        if before.phase is Phase.STEADY:
            if authority.own_root and now >= _automatic(authority):
                _log.info("the root has lived for most of its time: a new one is made")
                await authority.change(_begin)
            return
        known = self._collector.snapshot.revision > 0  # before that nobody seems to be registered
        after = advance(before, now, confirmed=known and not self.awaited())
        if after is not before:
            await authority.change(lambda one: _step(one, before, after))
            _log.info("root rotation: %s", after.phase)


def _begin(authority: Authority) -> None:
    if authority.rotation.phase is Phase.STEADY:
        authority.begin_rotation(overlap=PATIENCE)


def _step(authority: Authority, before: Rotation, after: Rotation) -> None:
    if authority.rotation == before:
        authority.move(after)


def _automatic(authority: Authority) -> float:
    """When to rotate without being asked."""
    root = authority.roots[0]
    begins, ends = root.not_valid_before_utc.timestamp(), root.not_valid_after_utc.timestamp()
    return begins + (ends - begins) * _AUTOMATIC_SHARE


def _why(silent: bool, version: str, trust: str, trusts: bool) -> str:
    if silent:
        return "its agent is silent: its proxy goes on by itself, and cannot be renewed"
    if not trust:
        return "its agent is of another version of weft" if version else "not heard since the control plane started"
    return "its certificate is the former root's" if trusts else "it has the former trust bundle"
