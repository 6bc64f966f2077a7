"""The names of the workload, followed: what the control plane tells goes into a file, from which they are answered.

The file stays when the control plane or the agent is away, and names with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from weft.agent.errors import AgentError
from weft.model.names import NamesAnswer
from weft.settings.private import write_atomically

_LOG = logging.getLogger(__name__)
NAMES_FILE = "names.json"
_WAIT = 30.0
_FIRST_RETRY, _LONGEST_RETRY = 0.2, 5.0
_LEAST_PAUSE = 0.05
"""Between two answers: of a mesh that changes all the time, not every change is asked for."""
Ask = Callable[[str, float], Awaitable[NamesAnswer]]


class NamesFollower:
    """Owns the file in `directory`. `ask` asks the control plane for names that are others than those of a version."""

    def __init__(self, directory: Path, ask: Ask) -> None:
        self.path = directory / NAMES_FILE
        self._ask = ask
        self.known = asyncio.Event()
        self._version = ""

    async def run(self) -> None:
        """Follow for ever."""
        self._version = self._kept_version()
        retry, said = _FIRST_RETRY, False
        while True:
            try:
                answer = await self._ask(self._version, _WAIT)
            except AgentError as error:
                if not said:
                    _LOG.warning("cannot ask for names: %s; they stay as they are, trying again", error)
                said = True
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LONGEST_RETRY)
                continue
            retry, said = _FIRST_RETRY, False
            if answer.table is not None and answer.version != self._version:
                self._keep(answer)
            await asyncio.sleep(max(answer.again, _LEAST_PAUSE))

    def _kept_version(self) -> str:
        """Of an earlier agent's file; empty if there is none that can be read."""
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=NamesAnswer)
        except (OSError, msgspec.DecodeError):
            return ""
        if kept.table is None:
            return ""
        self.known.set()
        return kept.version

    def _keep(self, answer: NamesAnswer) -> None:
        try:
            write_atomically(self.path, msgspec.json.encode(answer))
        except OSError as error:  # a full disk is no reason to stop, and what is told next is tried again
            _LOG.warning("cannot write down names, so they stay as they are: %s", error)
            return
        self._version = answer.version
        self.known.set()
