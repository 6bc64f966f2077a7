"""The Workload API of one proxy: where its socket is, and what stands behind it."""

from __future__ import annotations

from pathlib import Path

from weft.agent.metrics.own import NOBODY, own_peer
from weft.agent.proxy import Proxy
from weft.agent.workload_api.front import WorkloadApiSocket

VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
"""By which applications find it."""
_SOCKET, _BEHIND = "workload.sock", "workload-grpc.sock"


def endpoint_address(proxy: Proxy) -> str:
    """The address of the socket, as `VARIABLE` has it."""
    return f"unix://{_socket(proxy, _SOCKET)}"


def workload_api(proxy: Proxy) -> WorkloadApiSocket:
    """The socket, which asks the control plane for the proxy's workload when it is used."""

    async def serve(path: Path) -> None:
        # gRPC and the library for tokens are imported when they are used: few applications ask for them
        from weft.agent.workload_api.identities import Calls, Identities  # noqa: PLC0415
        from weft.agent.workload_api.service import WorkloadApi  # noqa: PLC0415

        own, _ = own_peer(proxy.files.chain)
        if own is NOBODY:
            raise OSError("the workload has no identity yet")
        client = proxy.client
        identities = Identities(Calls(client.application_certificate, client.token, client.trust))
        await WorkloadApi(identities, own.principal).serve(path)

    return WorkloadApiSocket(_socket(proxy, _SOCKET), _socket(proxy, _BEHIND), serve, proxy.directory)


def _socket(proxy: Proxy, name: str) -> Path:
    return proxy.parameters.home.socket(proxy.directory / name)
