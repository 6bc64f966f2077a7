"""The yardstick of the streams: a gRPC server that only pushes bytes to the same clients and reads their answers."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2

from bench.commands import Figures, answer_commands
from bench.engine import collect_seldom, material_of
from bench.simulated import ENDPOINTS, METHOD
from weft.discovery.grpc_tls import grpc

SETTLE = 0.05
PATIENCE = 120.0


class Echo:
    """Each stream waits for the next push, writes it and reads one answer."""

    def __init__(self) -> None:
        self._open = 0
        self._left = 0
        self._body = b""
        self._push = asyncio.Event()
        self._done = asyncio.Event()
        self._number = 0

    async def stream(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """One client: its two opening requests, then as many pushes as there are."""
        for _request in range(2):
            await context.read()
        self._open += 1
        try:
            while True:
                await self._push.wait()
                await context.write(self._body)
                await context.read()
                self._left -= 1
                if self._left == 0:
                    self._done.set()
        finally:
            self._open -= 1

    async def state(self) -> Figures:
        """How many streams are open."""
        return {"current": self._open}

    async def push(self, size: int) -> Figures:
        """`size` bytes to every stream; until all have answered."""
        self._number += 1
        padding = discovery_pb2.Resource(name="padding", version=str(self._number))
        padding.resource.value = bytes(size)
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=ENDPOINTS, nonce="1", resources=[padding])
        self._body = response.SerializeToString()
        self._left = self._open
        await asyncio.sleep(SETTLE)
        begun, cpu = time.perf_counter(), time.process_time()
        push, self._push = self._push, asyncio.Event()
        push.set()
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()
        self._done.clear()
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


async def main(directory: Path) -> None:
    """Serve until stdin ends."""
    echo = Echo()
    material = material_of(directory)
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
    service, _, method = METHOD[1:].partition("/")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method: grpc.stream_stream_rpc_method_handler(echo.stream)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    credentials = grpc.ssl_server_credentials(
        [(material.key.encode(), material.chain.encode())], material.bundle.encode(), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        await answer_commands({"state": echo.state, "push": echo.push}, {"port": port})
    finally:
        await server.stop(0.3)


if __name__ == "__main__":
    collect_seldom()
    asyncio.run(main(Path(sys.argv[1])))
