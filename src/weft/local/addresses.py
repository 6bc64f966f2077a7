"""Where gateways can be reached, as URLs: asked of their Envoys, so that nothing is said that does not listen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.state import read_state
from weft.local.client import AdminClient, RefusedError, UnreachableError
from weft.model.workload import SocketAddress
from weft.settings.home import Home

_SCHEMES = {"HTTP": "http", "HTTPS": "https", "TLS": "tls", "TCP": "tcp", "UDP": "udp"}
_OFFSET = 8000
"""What `weft gateway` adds to a port below 1024 by default."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def listener_urls(
    listeners: Iterable[Mapping[str, Any]], bound: Mapping[int, int], listening: Iterable[SocketAddress]
) -> dict[str, str]:
    """URLs of those `listeners` of a Gateway document in whose place Envoy is `listening`, by port. `bound`: where its
    ports are bound when not at their own number."""
    addresses = {address.port: address.host for address in listening}
    found: dict[str, str] = {}
    for listener in listeners:
        port = int(listener["port"])
        at = bound.get(port) or (port + _OFFSET if port < 1024 else port)
        host = addresses.get(at)
        if host is not None:
            host = "127.0.0.1" if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
            found.setdefault(str(port), f"{_SCHEMES.get(str(listener.get('protocol')), 'tcp')}://{host}:{at}")
    return found


async def gateway_urls(home: Home, admin: AdminClient, key: tuple[str, str]) -> dict[str, str] | None:
    """The listeners of the gateway `key` (namespace, name) in whose place its Envoy listens now: port of the Gateway ->
    URL. None when no control plane can say what they are."""
    directory = home.workload(*key)
    listening = await EnvoyAdmin(home.socket(directory / "admin.sock")).listeners()
    state = read_state(directory)
    if not listening or state is None:
        return {}
    try:
        answer = await asyncio.to_thread(lambda: admin.get("documents", kind="Gateway", namespace=key[0], name=key[1]))
    except (UnreachableError, RefusedError):
        return None
    documents = [one.get("document", one) for one in answer["documents"]]
    listeners = [listener for one in documents for listener in one["spec"].get("listeners") or ()]
    return listener_urls(listeners, dict(state.listen), listening)
