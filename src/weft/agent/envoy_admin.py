"""Questions to Envoy's admin interface on its unix socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weft.agent.http import Answer, HttpError, Server, ask
from weft.model.workload import SocketAddress

_TIMEOUT = 2.0
_CONNECTED = "control_plane.connected_state"


class EnvoyAdmin:
    """One Envoy's admin interface. Every question has a deadline; no answer is None."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def ready(self) -> bool:
        """Whether Envoy has its first configuration and serves."""
        answer = await self._ask("GET", "/ready")
        return answer is not None and answer.status == 200

    async def connected(self) -> bool:
        """Whether Envoy has a stream to the control plane."""
        return (await self.gauges(f"^{_CONNECTED}$") or {}).get(_CONNECTED) == 1

    async def listeners(self) -> tuple[SocketAddress, ...]:
        """The addresses on which Envoy listens."""
        answer = await self._ask("GET", "/listeners?format=json")
        if answer is None or answer.status != 200:
            return ()
        found = []
        for status in json.loads(answer.body).get("listener_statuses", ()):
            addresses = [status.get("local_address", {}), *status.get("additional_local_addresses", ())]
            for address in addresses:
                where = address.get("socket_address")
                if where:
                    found.append(SocketAddress(where["address"], where["port_value"]))
        return tuple(found)

    async def gauges(self, pattern: str) -> dict[str, int] | None:
        """Gauges and counters whose names match the regular expression `pattern`."""
        answer = await self._ask("GET", f"/stats?format=json&filter={pattern}")
        if answer is None or answer.status != 200:
            return None
        stats: list[dict[str, Any]] = json.loads(answer.body).get("stats", [])
        return {stat["name"]: stat["value"] for stat in stats if isinstance(stat.get("value"), int)}

    async def drain_listeners(self) -> None:
        """Tell callers to use other connections (GOAWAY, ``Connection: close``); keep serving meanwhile."""
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def _ask(self, method: str, path: str) -> Answer | None:
        try:
            return await ask(Server(path=self.socket), method, path, timeout=_TIMEOUT)
        except (TimeoutError, OSError, HttpError):
            return None
