"""The workload's registration: made, renewed as a lease, updated at once when the state changes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient, RefusedError, UnreachableError
from weft.agent.errors import EXIT_TIMEOUT, AgentError
from weft.agent.in_use import InUse
from weft.agent.keys import KeyAndRequest, make_key
from weft.aio.looks import next_look
from weft.model.enrolment import Issued, RegisterResponse
from weft.model.telemetry import MetricSettings
from weft.model.workload import Workload, WorkloadState

_LOG = logging.getLogger(__name__)
_FIRST_RETRY = 0.1
_LONGEST_RETRY = 5.0
_LATEST_RETRY = 1.0
"""While a control plane is waited for that was never there."""
_FIRST_LOOK = 0.3
"""Seconds until the control plane is told whether a certificate that it wanted replaced has been."""
_FIRST_AGAIN = 2.0
_LONGEST_AGAIN = 600.0
"""Seconds until it is replaced once more because the control plane is not content."""
_SAY_AFTER = 1.0
_SAY_EVERY = 30.0
_CONFLICT = 409
_UNKNOWN = 404
_RETRIED_STATUS = {404, 409, 425, 429}


async def _nothing() -> None:
    """No proxy to care for."""


class Registration:
    """Owns what the control plane knows about the workload. `run` is its one task. `connected` tells whether the proxy
    has a stream to the control plane, `in_use` which certificate it has in use; `certificate_due` is set when the
    control plane wants that one replaced. `metrics` is what documents change of the metrics that the agent serves, as
    it was told last. `trusted_anew` is called when trust in the workload had ended and it has a certificate again: on
    connections of before the proxy is refused for ever."""

    def __init__(
        self,
        client: ControlPlaneClient,
        files: CertificateFiles,
        workload: Callable[[WorkloadState], Workload],
        connected: Callable[[], Awaitable[bool]],
        in_use: Callable[[], Awaitable[InUse]] | None = None,
        trusted_anew: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._client = client
        self._files = files
        self._workload = workload
        self._connected = connected
        self._trusted_anew = trusted_anew
        self._in_use = in_use
        self._pressed, self._again, self._patience = 0.0, 0.0, _FIRST_AGAIN
        self.certificate_due = asyncio.Event()
        self._lease = 0.0
        self.metrics = MetricSettings()
        self._changed = asyncio.Event()
        self.state = WorkloadState.STARTING
        self.unused_proxy = False
        self.answer: RegisterResponse | None = None
        self._tried = False

    def set_state(self, state: WorkloadState) -> None:
        """Tell the control plane soon."""
        if state is not self.state:
            self.state = state
            self._changed.set()

    def set_unused_proxy(self, unused: bool) -> None:
        """Tell the control plane soon."""
        if unused is not self.unused_proxy:
            self.unused_proxy = unused
            self._changed.set()

    async def register(self) -> RegisterResponse:
        """Register once, in the current state, and install the certificate that comes back."""
        fresh = make_key()
        self._tried, trust = True, self._files.trust()
        try:
            answer = await self._client.register(self._current(), fresh.csr)
        except RefusedError:
            self._tried = self.answer is not None
            raise
        try:
            self._files.install(fresh.key, answer.issued, self._client.joined_by)
        except OSError as error:
            raise AgentError(f"cannot keep the certificate: {error}") from error
        self.answer, self.metrics = answer, answer.metrics
        if trust not in (None, self._files.trust()):
            await self._trusted_anew()
        return answer

    async def register_patiently(self, wait: float) -> RegisterResponse:
        """Register, waiting up to `wait` seconds (0: for ever) for a control plane, and say so meanwhile.

        Raises AgentError when the control plane refuses, or when the time is over.
        """
        clock = asyncio.get_running_loop().time
        began, said = clock(), float("-inf")
        while True:
            try:
                return await self.register()
            except UnreachableError as error:
                failure: AgentError = error
            except RefusedError as error:
                if error.status < 500 and error.status not in _RETRIED_STATUS:
                    raise AgentError(f"the control plane refused to register: {error}") from error
                failure = error
            waited = clock() - began
            if wait and waited >= wait:
                raise AgentError(f"gave up after {wait:g} s: {failure}", EXIT_TIMEOUT) from failure
            if waited >= _SAY_AFTER and clock() - said >= _SAY_EVERY:
                said = clock()
                _LOG.info("%s; waiting for it%s", failure, self._client.hint)
            await asyncio.sleep(next_look(waited, _FIRST_RETRY, _LATEST_RETRY))

    async def renew_certificate(self, fresh: KeyAndRequest) -> Issued:
        """A certificate for a new key; registers again when the control plane does not know us any more."""
        try:
            return await self._client.certificate(fresh.csr)
        except RefusedError as error:
            if error.status not in (401, 404):
                raise
            answer = await self._client.register(self._current(), fresh.csr)
            self.answer = answer
            return answer.issued

    async def run(self) -> None:
        """Renew the lease three times per its length and at every change of state, for ever."""
        retry, lost = _FIRST_RETRY, False
        said: type[AgentError] | None = None
        while True:
            usual = self.answer.lease / 3 if self.answer else _LONGEST_RETRY
            if lost:
                await self._wait_for_change(min(retry, usual))
            elif self._pressed:
                await self._wait_for_change(min(self._pressed, usual))
            else:
                await self._wait_for_renewal(usual)
            self._changed.clear()
            try:
                await self._renew()
            except AgentError as error:
                if said is not type(error):  # not there is one thing, another authority or a refusal are others
                    _LOG.warning("%s; traffic goes on, trying again", error)
                said = type(error)
                lost, retry = True, min(retry * 2, _LONGEST_RETRY)
            else:
                if lost:
                    _LOG.info("the control plane is back")
                lost, retry, said = False, _FIRST_RETRY, None

    async def drain(self, wait: float) -> None:
        """Mark the workload as draining and wait up to `wait` seconds for the callers' confirmation."""
        self.state = WorkloadState.DRAINING
        try:
            answer = await self._client.drain(wait)
        except RefusedError as error:
            if error.status != _UNKNOWN:
                _LOG.warning("callers were not told that this workload is stopping: %s", error)
            return  # not known: nobody is sent here, or (a pod) callers hear it from elsewhere
        except AgentError as error:
            _LOG.warning("callers were not told that this workload is stopping: %s", error)
            return
        if not answer.confirmed:
            _LOG.warning("callers that have not confirmed: %s", ", ".join(answer.pending))

    async def end(self) -> None:
        """Deregister; when that fails the lease ends by itself."""
        if not self._tried:
            return
        try:
            await self._client.deregister()
        except RefusedError as error:
            _LOG.debug("not registered any more: %s", error)
        except AgentError as error:
            if self.answer is None:  # it has perhaps never been registered
                return
            _LOG.info("could not deregister (the registration ends by itself): %s", error)

    def _current(self) -> Workload:
        return dataclasses.replace(self._workload(self.state), unused_proxy=self.unused_proxy)

    async def _renew(self) -> None:
        self._lease = 0.0
        try:
            in_use = await self._in_use() if self._in_use is not None else ("", "")
            answer = await self._client.renew(self.state, self.unused_proxy, in_use)
            self._lease, self.metrics = answer.lease, answer.metrics
            self._press(answer.certificate_due)
        except RefusedError as error:
            if error.status == _CONFLICT:  # with a registration of our own, which has said the same or not
                await asyncio.sleep(_FIRST_RETRY)
                self._changed.set()
                return
            if error.status not in (401, 404):
                raise
            await self.register()
            _LOG.info("registered again")

    def _press(self, due: bool) -> None:
        """Have the certificate replaced if it is `due`, and again, ever more seldom, while it stays so; and speak often
        meanwhile."""
        if not due:
            self._pressed, self._again, self._patience = 0.0, 0.0, _FIRST_AGAIN
            return
        self._pressed = max(_FIRST_LOOK, self._pressed * 1.5)
        now = asyncio.get_running_loop().time()
        if now >= self._again:
            self.certificate_due.set()
            self._again, self._patience = now + self._patience, min(2 * self._patience, _LONGEST_AGAIN)

    async def _wait_for_renewal(self, usual: float) -> None:
        """Wait until a renewal is due: as seldom as the control plane asks while the proxy is connected."""
        left = max(usual, self._lease / 3) * random.uniform(0.9, 1.0)  # noqa: S311
        while not await self._wait_for_change(min(usual, left)):
            left -= usual
            if left <= 0 or not await self._connected():
                return

    async def _wait_for_change(self, delay: float) -> bool:
        """Whether the state was changed within `delay` seconds."""
        try:
            async with asyncio.timeout(delay):
                return await self._changed.wait()
        except TimeoutError:
            return False
