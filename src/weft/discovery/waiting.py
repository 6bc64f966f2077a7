"""Waiting until the proxies concerned by a revision have answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container

from weft.discovery.refusals import Verdicts
from weft.discovery.roster import Roster
from weft.discovery.silence import Silence
from weft.discovery.status import Nack, WaitResult, nack_from_rejection


class Waiter:
    """Proxies still to be heard of about `revision`, and when (monotonic seconds) the others were heard of."""

    def __init__(self, revision: int, concerned: frozenset[str]) -> None:
        self.revision = revision
        self.concerned = concerned
        self.remaining = set(concerned)
        self.gone: set[str] = set()
        self.stuck: set[str] = set()
        self.when: dict[str, float] = {}
        self.done = asyncio.Event()
        if not self.remaining:
            self.done.set()

    def settle(self, proxy: str, *, gone: bool = False, stuck: bool = False) -> None:
        """`proxy` needs not be waited for any more."""
        self.remaining.discard(proxy)
        self.when[proxy] = time.monotonic()
        if gone:
            self.gone.add(proxy)
        if stuck:
            self.stuck.add(proxy)
        if not self.remaining:
            self.done.set()


class Waiters:
    """Everyone who waits at the moment. `progress` is to be called when something was heard of a proxy."""

    def __init__(self, roster: Roster, silence: Silence) -> None:
        self._roster = roster
        self._silence = silence
        self._waiters: set[Waiter] = set()
        self.registered: Container[str] = ()

    async def wait(self, revision: int, concerned: frozenset[str], timeout: float) -> WaitResult:
        """Until each of `concerned` has answered all of `revision`, or is gone or stuck; at most `timeout` seconds."""
        waiter = Waiter(revision, concerned)
        self._waiters.add(waiter)
        try:
            for proxy in concerned:
                self._check(waiter, proxy)
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter.done.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)
        return self._result(waiter)

    def progress(self, proxy: str) -> None:
        """The proxy answered, subscribed, came or left."""
        for waiter in self._waiters:
            if proxy in waiter.remaining:
                self._check(waiter, proxy)

    def check_all(self) -> None:
        """Called about once a second."""
        for waiter in self._waiters:
            for proxy in tuple(waiter.remaining):
                self._check(waiter, proxy)

    def _check(self, waiter: Waiter, proxy: str) -> None:
        streams = self._roster.of(proxy)
        if streams:
            if all(stream.acked_revision >= waiter.revision for stream in streams):
                waiter.settle(proxy)
            elif not self._silence.has_loaded(proxy):
                waiter.settle(proxy, gone=True)
            elif self._silence.is_stuck(proxy, time.monotonic()):
                waiter.settle(proxy, stuck=True)
            return
        left = self._roster.back_within(proxy, time.monotonic())
        if left <= 0 or proxy not in self.registered:
            waiter.settle(proxy, gone=True)
        else:
            asyncio.get_running_loop().call_later(left, self.progress, proxy)

    def _result(self, waiter: Waiter) -> WaitResult:
        verdicts = Verdicts(self._roster)
        nacks: list[Nack] = [
            nack_from_rejection(proxy, rejection, verdicts.of(rejection))
            for proxy in sorted(waiter.concerned)
            for stream in self._roster.of(proxy)
            for rejection in stream.session.rejections()
            if rejection.first <= waiter.revision <= rejection.last or stream.first_revision >= waiter.revision
        ]
        refusing = {nack.proxy for nack in nacks}
        settled = waiter.concerned - waiter.remaining - waiter.gone - waiter.stuck - refusing
        return WaitResult(
            tuple(sorted(settled)),
            tuple(nacks),
            tuple(sorted(waiter.remaining)),
            tuple(sorted(waiter.gone)),
            tuple(sorted(waiter.stuck)),
            when={proxy: waiter.when[proxy] for proxy in settled},
        )
