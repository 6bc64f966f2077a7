"""The addresses of a running control plane, as it writes them to `Home.endpoints` (JSON, 0600)."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN_ENDS = "X-Weft-Token-Ends"  # noqa: S105 - the name of a header
"""The header of the admin API's answers to a principal that ends soon: when."""
DEFAULT_XDS_PORT = 15012
DEFAULT_AGENT_API_PORT = 15013
DEFAULT_ADMIN_PORT = 15080
DEFAULT_METRICS_PORT = 15014
DEFAULT_WEBHOOK_PORT = 15017


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`admin` is a URL (``http://127.0.0.1:15080``), `xds` and `agent_api` are ``HOST:PORT``, `pid` the process;
    `metrics` is the URL that Prometheus scrapes (empty: of a control plane that had none), `remote_admin` that of the
    admin API for other hosts (empty: it is on loopback only), `bundle` that at which other trust domains fetch the
    trust bundle (empty: it is not published), `webhooks` the
    ``HOST:PORT`` that an API server asks (empty: none)."""

    admin: str
    xds: str
    agent_api: str
    agent_socket: str
    pid: int
    metrics: str = ""
    remote_admin: str = ""
    bundle: str = ""
    webhooks: str = ""
