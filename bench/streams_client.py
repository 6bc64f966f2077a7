"""Simulated proxies: each speaks delta ADS as Envoy does, accepts everything, and reconnects with what it holds."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.streams_mesh import NAMESPACE
from weft.discovery.grpc_tls import grpc
from weft.discovery.server import SERVICE
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES

Request = discovery_pb2.DeltaDiscoveryRequest
Names = tuple[tuple[str, str], ...]
_PARSED: dict[bytes, tuple[str, str, Names, tuple[str, ...]]] = {}
"""Streams that load alike are sent the same bytes; parsing them once keeps the generator out of the figures."""
_FOLLOWING = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}


def parsed(raw: bytes) -> tuple[str, str, Names, tuple[str, ...]]:
    """Type, nonce, names with versions, removed names."""
    known = _PARSED.get(raw)
    if known is None:
        if len(_PARSED) > 200:
            _PARSED.clear()
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        names = tuple((one.name, one.version) for one in message.resources)
        known = _PARSED[raw] = (message.type_url, message.nonce, names, tuple(message.removed_resources))
    return known


class Proxy:
    """One simulated proxy. What it holds is kept over reconnects."""

    def __init__(self, directory: Path, number: int, port: int) -> None:
        self._name = f"proxy-{number}.{NAMESPACE}"
        credentials = grpc.ssl_channel_credentials(
            (directory / "root.pem").read_bytes(),
            (directory / "proxy.key").read_bytes(),
            (directory / f"{number}.pem").read_bytes(),
        )
        options = [
            ("grpc.ssl_target_name_override", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 300),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)
        self._held: dict[str, dict[str, str]] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._stream()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _stream(self) -> None:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources"
        )
        call: grpc.aio.StreamStreamCall[bytes, bytes] = method(wait_for_ready=True)
        if self._held:
            for kind, held in self._held.items():
                explicit = held if kind in _FOLLOWING.values() else ()
                await call.write(self._request(kind, subscribe=explicit, initial=held))
        else:
            for kind in _FOLLOWING:
                await call.write(self._request(kind))
        while isinstance(raw := await call.read(), bytes):
            kind, nonce, names, removed = parsed(raw)
            await call.write(self._request(kind, nonce=nonce))
            await self._hold(call, kind, names, removed)

    async def _hold(
        self, call: grpc.aio.StreamStreamCall[bytes, bytes], kind: str, names: Names, removed: tuple[str, ...]
    ) -> None:
        held = self._held.setdefault(kind, {})
        for name in removed:
            held.pop(name, None)
        following = _FOLLOWING.get(kind)
        if following is not None:
            fresh = _subscriptions(kind, [name for name, _ in names if name not in held])
            if fresh:
                await call.write(self._request(following, subscribe=fresh))
        held.update(names)

    def _request(
        self,
        kind: str,
        *,
        nonce: str = "",
        subscribe: Iterable[str] = (),
        initial: dict[str, str] | None = None,
    ) -> bytes:
        request = Request(type_url=kind, response_nonce=nonce, node=base_pb2.Node(id=self._name))
        request.resource_names_subscribe.extend(subscribe)
        for name, version in (initial or {}).items():
            request.initial_resource_versions[name] = version
        return request.SerializeToString()


def _subscriptions(kind: str, names: list[str]) -> list[str]:
    """Service clusters have endpoints of the same name, the outbound listener routes of the same name."""
    return [name for name in names if name.startswith("outbound|" if kind == CLUSTER else "outbound")]


async def main(directory: Path, first: int, count: int, port: int) -> None:
    """Run `count` proxies, started one shortly after the other."""
    proxies = [Proxy(directory, number, port) for number in range(first, first + count)]
    async with asyncio.TaskGroup() as group:
        for proxy in proxies:
            group.create_task(proxy.run())
            await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
