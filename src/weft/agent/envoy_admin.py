"""Questions to Envoy's admin interface on its unix socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

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

    async def cut_off(self) -> bool:
        """Whether Envoy gets its configuration from a control plane and has no stream to it."""
        return (await self.gauges(f"^{_CONNECTED}$") or {}).get(_CONNECTED) == 0

    async def state(self, epoch: int) -> str:
        """What the Envoy of this restart epoch says of itself (``LIVE``: it serves); empty if it does not answer."""
        try:
            told: dict[str, Any] = json.loads(await self.body("/server_info"))
        except ValueError:
            return ""
        return str(told["state"]) if told["command_line_options"]["restart_epoch"] == epoch else ""

    async def listeners(self) -> tuple[SocketAddress, ...]:
        """The addresses on which Envoy listens."""
        return tuple(where for named in (await self.named_listeners()).values() for where in named)

    async def named_listeners(self) -> dict[str, tuple[SocketAddress, ...]]:
        """The same, by the names of the listeners."""
        answer = await self._ask("GET", "/listeners?format=json")
        if answer is None or answer.status != 200:
            return {}
        found = {}
        for status in json.loads(answer.body).get("listener_statuses", ()):
            addresses = [status.get("local_address", {}), *status.get("additional_local_addresses", ())]
            sockets = [address["socket_address"] for address in addresses if address.get("socket_address")]
            found[status["name"]] = tuple(SocketAddress(one["address"], one["port_value"]) for one in sockets)
        return found

    async def gauges(self, pattern: str) -> dict[str, int] | None:
        """Gauges and counters whose names match the regular expression `pattern`."""
        return await self._values(f"filter={pattern}")

    async def values(self, kind: Literal["Counters", "Gauges"]) -> dict[str, int]:
        """All that are kept; none without an answer."""
        return await self._values(f"type={kind}") or {}

    async def _values(self, query: str) -> dict[str, int] | None:
        answer = await self._ask("GET", f"/stats?format=json&{query}")
        if answer is None or answer.status != 200:
            return None
        stats: list[dict[str, Any]] = json.loads(answer.body).get("stats", [])
        return {stat["name"]: stat["value"] for stat in stats if isinstance(stat.get("value"), int)}

    async def body(self, path: str) -> bytes:
        """The whole answer to a GET of `path`; empty if there is none."""
        answer = await self._ask("GET", path)
        return answer.body if answer is not None and answer.status == 200 else b""

    def plain(self, text: bytes) -> bytes:
        """What this Envoy writes, by the names that others know: as it is."""
        return text

    async def drain_listeners(self) -> None:
        """Tell callers to use other connections (GOAWAY, ``Connection: close``); keep serving meanwhile."""
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def set_runtime(self, key: str, value: str) -> bool:
        """Set a runtime key over all layers until Envoy ends; whether Envoy took it."""
        answer = await self._ask("POST", f"/runtime_modify?{key}={value}")
        return answer is not None and answer.status == 200

    async def reopen_logs(self) -> bool:
        """Have it open its access logs anew; whether it did."""
        answer = await self._ask("POST", "/reopen_logs")
        return answer is not None and answer.status == 200

    async def _ask(self, method: str, path: str) -> Answer | None:
        try:
            return await ask(Server(path=self.socket), method, path, timeout=_TIMEOUT)
        except (TimeoutError, OSError, HttpError):
            return None
