"""Which version of Envoy the control plane is told, where the one that runs may be another than the installed one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from weft.agent.binary import envoy_version
from weft.agent.hot_restart import executed_by, runs_binary
from weft.processes.name import ProcessName


class EnvoyVersions:
    """While one Envoy takes over from another, the earlier version of both is told: its configuration both understand.
    `changed` is set when it has become another than was told last."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._installed = envoy_version(binary)
        self._others: dict[ProcessName, str] = {}
        self._told = self._installed
        self.changed = asyncio.Event()

    def adopt(self, names: Iterable[ProcessName | None]) -> None:
        """Processes that an earlier agent has started, perhaps of another version. Blocks for some 0.1 s."""
        for name in names:
            if name is not None and not runs_binary(name, self._binary):
                self._others[name] = envoy_version(executed_by(name))

    def told(self, names: Iterable[ProcessName | None]) -> str:
        """What to tell while these run."""
        self._told = self._of(names)
        return self._told

    def follow(self, names: Iterable[ProcessName | None]) -> None:
        """These run now."""
        if self._of(names) != self._told:
            self.changed.set()

    def _of(self, names: Iterable[ProcessName | None]) -> str:
        found = [self._others.get(name, self._installed) for name in names if name is not None]
        return min(found, key=_ordered, default=self._installed)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
