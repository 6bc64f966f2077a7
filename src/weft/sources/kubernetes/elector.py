"""The elector: bids for the Lease again and again, as `election` says, and gives it back at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

import msgspec

from weft.aio.cell import Cell
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.election import USUAL, Election, Held, Record, Terms, held_from, lease_body
from weft.sources.kubernetes.reflector import Failure

_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409
_LAST_SECONDS = 2.0
_log = logging.getLogger("weft.kubernetes")


class Elector:
    """One candidate, called `identity`, for a `lease` in a namespace. `term` tells when it begins or ends to lead;
    whether it leads at a moment says `leads`. `does` says for the log what only the leader does."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        identity: str,
        lease: str,
        terms: Terms = USUAL,
        clock: Callable[[], float] = time.time,
        does: str = "writes to Kubernetes",
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self.lease = lease
        self._terms = terms
        self._clock = clock
        self._does = does
        self._election = Election(identity, terms)
        self.term: Cell[bool] = Cell(False)
        self._failure: Failure | None = None

    @property
    def leads(self) -> bool:
        """Whether it leads now."""
        return self._election.leads(time.monotonic())

    @property
    def holder(self) -> str:
        """Who was seen to lead last."""
        return self._election.holder

    @property
    def refused(self) -> str:
        """That the server does not let it write the Lease; empty: it does, or is away."""
        failure = self._failure
        if failure is None or failure.status not in (_FORBIDDEN, _NOT_FOUND):
            return ""
        return f"the Lease {self._namespace}/{self.lease} cannot be written: {failure.message}"

    async def run(self) -> None:
        """Bid for ever. When it is cancelled, another may lead at once."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._terms.deadline / 2):
                        await self._try()
                    self._failure = None
                except Exception as error:  # whatever the server may say, traffic does not hang on this
                    self._failed(error)
                self._tell()
                await asyncio.sleep(self._terms.retry * (1 + 0.2 * random.random()))  # noqa: S311
        finally:
            await self._resign()

    async def _try(self) -> None:
        """Look at the Lease if that is needed, and write to it if it is free or ours."""
        election = self._election
        if election.stale or not self.leads:
            election.saw(await self._look(), time.monotonic())
        asked = time.monotonic()
        record = election.bid(asked, self._clock())
        if record is not None:
            try:
                election.won(await self._write(record), asked)
            except BaseException:
                election.refused()
                raise

    async def _look(self) -> Held | None:
        try:
            return held_from((await self._client.get(self._path(self.lease))).body)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def _write(self, record: Record) -> Held:
        version = self._election.version
        body = lease_body(record, self._namespace, self.lease, version)
        method, path = ("PUT", self._path(self.lease)) if version else ("POST", self._path())
        return held_from(await self._client.send(method, path, body))

    def _path(self, name: str = "") -> str:
        root = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        return f"{root}/{name}" if name else root

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == _CONFLICT:
            return  # another was faster
        status = error.status if isinstance(error, ApiError) else 0
        text = str(error) if isinstance(error, ApiError) else "it does not answer in time, or with no Lease"
        failure = Failure(text, status)
        if failure != self._failure:
            _log.warning("the Lease %s/%s cannot be written: %s", self._namespace, self.lease, text)
            self._failure = failure

    def _tell(self) -> None:
        if self.term.value != self.leads:
            said = "this is" if self.leads else "this is no more"
            _log.info("%s the control plane that %s, by its Lease %s", said, self._does, self.lease)
            self.term.set(self.leads)

    async def _resign(self) -> None:
        """Give the Lease back, also if it was taken or renewed by a bid whose answer was not heard."""
        self._election.end()
        with contextlib.suppress(ApiError, TimeoutError, msgspec.MsgspecError):
            async with asyncio.timeout(_LAST_SECONDS):
                if not await self._gave_back():
                    await self._gave_back()

    async def _gave_back(self) -> bool:
        """Whether the Lease is not ours any more. False if it was written meanwhile, as by that bid."""
        election = self._election
        if election.stale:
            election.saw(await self._look(), time.monotonic())
        record = election.resigned(self._clock())
        if record is not None:
            try:
                await self._write(record)
            except ApiError as error:
                if error.status != _CONFLICT:
                    raise
                election.refused()
                return False
        return True
