"""A process of simulated proxies over gRPC, each on a connection of its own, with its own certificate."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from bench.simulated import METHOD, Responses, SimulatedProxy
from weft.discovery.grpc_tls import grpc

ASKS = "asks"
"""A file of the directory: the clusters that each proxy asks for, a line each; empty: nobody asks."""
LIFETIME = 3600.0
"""Seconds after which a client ends by itself, whatever became of those who started it."""


class Client:
    """One simulated proxy and its connection. What it holds is kept over reconnects."""

    def __init__(self, directory: Path, number: int, port: int, proxy: SimulatedProxy) -> None:
        self._proxy = proxy
        credentials = grpc.ssl_channel_credentials(
            (directory / "root.pem").read_bytes(),
            (directory / "proxy.key").read_bytes(),
            (directory / f"{number}.pem").read_bytes(),
        )
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 300),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)

    async def run(self) -> None:
        """Until the process ends."""
        while True:
            try:
                await self._stream()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _stream(self) -> None:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(METHOD)
        call: grpc.aio.StreamStreamCall[bytes, bytes] = method(wait_for_ready=True)
        for request in self._proxy.opening():
            await call.write(request)
        while isinstance(raw := await call.read(), bytes):
            for request in self._proxy.answer(raw):
                await call.write(request)


async def main(directory: Path, first: int, count: int, port: int) -> None:
    """Run `count` proxies, started one shortly after the other, as long as the parent process lives."""
    names = (directory / "callers").read_text().split()
    responses = Responses()
    parent = os.getppid()
    asks = [tuple(line.split()) for line in (directory / ASKS).read_text().splitlines()] or [()] * len(names)
    proxies = {each: SimulatedProxy(names[each], responses, asks[each]) for each in range(first, first + count)}
    clients = [Client(directory, number, port, proxy) for number, proxy in proxies.items()]
    tasks = set()
    for client in clients:
        tasks.add(asyncio.create_task(client.run()))
        await asyncio.sleep(0.002)
    async with asyncio.timeout(LIFETIME):
        while os.getppid() == parent:
            ended, _ = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
