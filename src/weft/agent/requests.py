"""Requests that the proxy noted: read from its files, kept for a while, and told to the control plane."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from weft.agent.client import ControlPlaneClient, RefusedError
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.errors import AgentError
from weft.agent.request_lines import request_from_line
from weft.model.requests import RequestsAnswer, RequestSeen, RequestsReport, TapOrder
from weft.xds.signals.journal import JOURNAL_FILE, TAP_FILE, TAP_KEY

_LOOK_EVERY = 0.5
_READ_AT_ONCE = 4 << 20
_KEPT = 200
"""Requests that wait for the next report; of more the oldest are left out."""
_REPORT_BYTES = 200_000
"""Less than what the control plane accepts of an agent."""
_JOURNAL_RATE = 50
"""Requests per look that are kept at most: failures that come in thousands are all alike."""
_LOOKED_AT = 20
"""Lines that are read for each that may be passed on: filters are tried here, and must not cost too much."""
_LONGEST_INTERVAL = 60.0
_WITHOUT_ANSWER = 5.0
_LONGEST_TAP = 600.0


async def _not_followed(_version: str) -> None:
    """For who does not care."""


class FollowedFile:
    """A file that Envoy appends to and we empty. Made before Envoy opens it, so that nobody else can read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def prepare(self, fresh: bool) -> None:
        """Make it (0600); if `fresh`, empty what an earlier run has left. OSError when that cannot be."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if fresh else 0), 0o600))
        self._path.chmod(0o600)

    def lines(self) -> list[bytes]:
        """The whole lines that came since the last call; what has been read is forgotten."""
        try:
            size = self._path.stat().st_size
            if size < self._offset:
                self._offset = 0
            if size == self._offset:
                return []
            with self._path.open("rb") as file:
                file.seek(max(self._offset, size - _READ_AT_ONCE))
                start, data = file.tell(), file.read(_READ_AT_ONCE)
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset = start + end
        if end == len(data):
            self._empty_if(self._offset)
        return data[:end].splitlines()

    def empty(self) -> None:
        """Forget what is in it."""
        try:
            os.truncate(self._path, 0)
        except OSError:
            return
        self._offset = 0

    def remove(self) -> None:
        """Leave nothing behind."""
        self._path.unlink(missing_ok=True)

    def _empty_if(self, size: int) -> None:
        """Empty it unless something came meanwhile."""
        try:
            if self._path.stat().st_size == size:
                self.empty()
        except OSError:
            return


class Requests:
    """Owns both files and the switch of the tap. `run` is its one task. `revoked` hears which revocation list there
    is."""

    def __init__(
        self,
        directory: Path,
        admin: EnvoyAdmin,
        client: ControlPlaneClient,
        revoked: Callable[[str], Awaitable[None]] = _not_followed,
    ) -> None:
        self._journal = FollowedFile(directory / JOURNAL_FILE)
        self._tap = FollowedFile(directory / TAP_FILE)
        self._admin = admin
        self._client = client
        self._revoked = revoked
        self._waiting: deque[RequestSeen] = deque(maxlen=_KEPT)
        self._left_out = 0
        self._untapped = 0
        self._order: TapOrder | None = None
        self._until = 0.0
        self._switched: bool | None = None  # an earlier agent may have left it on

    def prepare(self, *, fresh: bool) -> None:
        """Before Envoy starts (`fresh`), or where one is taken over. Without room on the disk there is no journal,
        which is no reason not to start."""
        for file in (self._journal, self._tap):
            try:
                file.prepare(fresh)
            except OSError:
                continue

    def remove(self) -> None:
        """After Envoy has ended."""
        for file in (self._journal, self._tap):
            file.remove()

    async def run(self) -> None:
        """Look, report, and switch the tap for ever."""
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            while True:
                self._look(clock())
                if self._waiting or self._untapped or clock() >= due:
                    answer = await self._report()
                    interval = answer.interval if answer else _WITHOUT_ANSWER
                    self._take(answer, clock())
                    if answer is not None:
                        await self._revoked(answer.revoked)
                    due = clock() + (0.0 if self._order else min(max(interval, _LOOK_EVERY), _LONGEST_INTERVAL))
                if self._order is not None and clock() >= self._until:
                    self._order = None
                if self._order is not None or self._switched is not False:
                    await self._switch(self._order is not None)  # again and again: Envoy may have been restarted
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            if self._switched:
                await asyncio.shield(self._switch(False))

    def _take(self, answer: RequestsAnswer | None, now: float) -> None:
        if answer is None:
            return
        self._order = answer.tap
        if answer.tap is not None:
            self._until = now + min(answer.tap.seconds, _LONGEST_TAP)

    def _look(self, now: float) -> None:
        lines = self._journal.lines()
        self._left_out += max(0, len(lines) - _JOURNAL_RATE)
        self._keep(lines[-_JOURNAL_RATE:])
        tapped = self._tap.lines()
        order = self._order
        if order is None or now >= self._until:
            if tapped:
                self._tap.empty()
            return
        room = max(1, int(order.rate * _LOOK_EVERY))
        looked_at = room * _LOOKED_AT
        self._untapped += max(0, len(tapped) - looked_at)
        for line in tapped[:looked_at]:
            seen = request_from_line(self._admin.plain(line))
            if seen is None or not any(one.covers(seen) for one in order.filters):
                continue
            if room > 0:
                self._append(seen)
                room -= 1
            else:
                self._untapped += 1

    def _keep(self, lines: list[bytes]) -> None:
        for line in lines:
            seen = request_from_line(self._admin.plain(line))
            if seen is not None and not seen.tunnel:
                self._append(seen)

    def _append(self, seen: RequestSeen) -> None:
        if len(self._waiting) == _KEPT:
            self._left_out += 1
        self._waiting.append(seen)

    async def _report(self) -> RequestsAnswer | None:
        told, left_out, untapped = tuple(self._fitting()), self._left_out, self._untapped
        try:
            answer = await self._client.report_requests(RequestsReport(told, left_out, untapped))
        except RefusedError as error:
            if error.status not in (400, 413):
                return None
            answer = RequestsAnswer(_WITHOUT_ANSWER)  # told again it would be refused again
        except AgentError:
            return None  # what waits is told later; the registration says that the control plane is away
        for _ in told:
            self._waiting.popleft()
        self._left_out -= left_out
        self._untapped -= untapped
        return answer

    def _fitting(self) -> Iterator[RequestSeen]:
        """Those that wait, as many as one report has room for."""
        room = _REPORT_BYTES
        for seen in self._waiting:
            room -= len(msgspec.json.encode(seen)) + 1
            if room < 0:
                return
            yield seen

    async def _switch(self, on: bool) -> None:
        if await self._admin.set_runtime(TAP_KEY, "100" if on else "0"):
            self._switched = on
            if not on:
                self._tap.empty()
