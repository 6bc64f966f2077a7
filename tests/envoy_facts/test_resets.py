"""Facts of Envoy: who may reset streams on a connection to an inbound port for ever, and who loses the connection."""

from __future__ import annotations

from pathlib import Path

from support.http2 import reset_streams
from support.loopback import echo_server
from support.proxy import calling_itself, running_pair
from weft.mesh.services.service import MutualTlsMode

RESETS = 3000


async def test_whoever_speaks_plaintext_to_a_port_with_mutual_tls_loses_the_connection(tmp_path: Path) -> None:
    """Proxies of the mesh speak mutual TLS where the port takes it, and do not come this way."""
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, mode=MutualTlsMode.PERMISSIVE)
        async with running_pair(view, tmp_path) as pair:
            assert await reset_streams(pair.inbound, "reviews", "/", RESETS, pause=0.0005) > 1
