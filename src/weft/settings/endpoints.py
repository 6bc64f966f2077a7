"""The addresses of a running control plane, as it writes them to `Home.endpoints` (JSON, 0600)."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_XDS_PORT = 15012
DEFAULT_AGENT_API_PORT = 15013
DEFAULT_ADMIN_PORT = 15080


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`admin` is a URL (``http://127.0.0.1:15080``), `xds` and `agent_api` are ``HOST:PORT``, `pid` the process."""

    admin: str
    xds: str
    agent_api: str
    agent_socket: str
    pid: int
