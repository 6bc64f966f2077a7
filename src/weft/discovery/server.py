"""The xDS server: ADS in both variants over gRPC, TLS 1.3 with client certificates."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, cast

from weft.discovery.grpc_tls import grpc
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.memory import Trimmer, system_trim
from weft.discovery.peer import IdentityRefusedError, Peer, check_peer, peer_from_auth_context, trust_domain_of
from weft.discovery.requests import client_version, delta_request, sotw_request
from weft.discovery.session import RefusedRequestError
from weft.discovery.stream import Ending, Stream, StreamEndedError
from weft.model.workload import Workload

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
Lookup = Callable[[str], Workload | None]
_STOP = 0.3
_STOPPING = "the control plane is stopping"
_TICK_SECONDS = 0.1
_INSPECTION_SECONDS = 1.0
_NEXT_ATTEMPT_SECONDS = 0.05
_SILENT_ATTEMPTS = 20
_log = logging.getLogger("weft.discovery")


class Material(Protocol):
    """The server's key and certificates, PEM. `bundle` is what client certificates are checked against."""

    @property
    def key(self) -> str:
        """The private key (ECDSA)."""

    @property
    def chain(self) -> str:
        """The leaf certificate, then intermediates."""

    @property
    def bundle(self) -> str:
        """Root certificates."""


class XdsServer:
    """Made, started, stopped by `serve_xds`."""

    def __init__(
        self,
        hub: Hub[Any],
        lookup: Lookup,
        material: Callable[[], Material],
        limits: Limits,
        others: tuple[Any, ...] = (),
    ) -> None:
        self._hub = hub
        self._lookup = lookup
        self._material = material
        self._limits = limits
        self._current: Material = material()
        self._trust_domain = trust_domain_of(self._current.chain)
        self._streams: set[Stream] = set()
        self._server = grpc.aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                        "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
                    },
                ),
                *others,
            )
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (`port` 0 lets the system choose). Raises OSError if that is not possible."""
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._current), cast(Any, self._fetch), require_client_authentication=True
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        return bound

    async def retire(self) -> None:
        """Take no more connections. Streams go on; each ends when its connection is as old as connections may be."""
        await self._server.stop(2 * self._limits.connection_age)

    async def drain(self, seconds: float) -> None:
        """Take no more connections, and end the streams one after the other over so many seconds: their proxies connect
        elsewhere by and by. Each connection is told at once that no more streams are taken on it."""
        stopping = asyncio.create_task(self._server.stop(seconds + _STOP))
        left = list(self._streams)
        random.shuffle(left)
        ticks = max(1, round(seconds / _TICK_SECONDS))
        for tick in range(ticks):
            for _ in range(len(left) // (ticks - tick)):
                left.pop().end(Ending("UNAVAILABLE", _STOPPING))
            await asyncio.sleep(_TICK_SECONDS)
        await self.stop()
        await stopping

    async def stop(self) -> None:
        """End all streams and close the listener, in well under a second."""
        for stream in tuple(self._streams):
            stream.end(Ending("UNAVAILABLE", _STOPPING))
        await self._server.stop(_STOP)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, in a thread of its own: new material, or None if it is the same."""
        material = self._material()
        if (material.key, material.chain, material.bundle) == (
            self._current.key,
            self._current.chain,
            self._current.bundle,
        ):
            return None
        self._current = material
        return _configuration(material)

    async def _delta(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await self._serve(context, delta=True)

    async def _sotw(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await self._serve(context, delta=False)

    async def _serve(self, context: grpc.aio.ServicerContext[bytes, bytes], *, delta: bool) -> None:
        who, ending = await self._run_until_end(context, delta=delta)
        if ending is None:
            return
        if ending.problem:
            self._hub.report(ending.problem, who, ending.message)
        if ending.problem == "stuck":
            raise asyncio.CancelledError  # a status could not get through either
        # gRPC keeps what this raises as long as the call, so it must not be raised where it drags the stream along
        await context.abort(grpc.StatusCode[ending.code], ending.message)

    async def _run_until_end(
        self, context: grpc.aio.ServicerContext[bytes, bytes], *, delta: bool
    ) -> tuple[str, Ending | None]:
        """Serve; returns who was served, and how the server ends it (None: the client did)."""
        who = context.peer().rpartition(":")[0]
        try:
            peer = replace(peer_from_auth_context(context.auth_context()), connection=context.peer())
            who = peer.name
            await self._run(context, peer, delta=delta)
        except IdentityRefusedError as error:
            return who, Ending("PERMISSION_DENIED", str(error), "identity-refused")
        except RefusedRequestError as error:
            return who, Ending("INVALID_ARGUMENT", str(error), error.code)
        except StreamEndedError as error:
            return who, error.ending
        return who, None

    async def _run(self, context: grpc.aio.ServicerContext[bytes, bytes], peer: Peer, *, delta: bool) -> None:
        async def read() -> bytes | None:
            raw: object = await context.read()
            return raw if isinstance(raw, bytes) else None

        try:
            async with asyncio.timeout(self._limits.first_request):
                first = await read()
                await self._hub.ready.wait()
        except TimeoutError as error:
            what = "the control plane has no configuration yet" if not self._hub.ready.is_set() else "no request came"
            raise StreamEndedError(Ending("UNAVAILABLE", what)) from error
        if first is None:
            return
        if not self._hub.may_ask(peer.name):
            raise StreamEndedError(Ending("RESOURCE_EXHAUSTED", "the proxy has asked for too much lately", "flood"))
        node = delta_request(first)[0] if delta else sotw_request(first)[0]
        await self._hub.prepare(check_peer(peer, node, self._lookup(peer.name), time.time(), self._trust_domain))
        # That may have taken a while, and what is attached is who it is now.
        workload = check_peer(peer, node, self._lookup(peer.name), time.time(), self._trust_domain)
        stream = self._hub.attach(peer, workload, delta=delta)
        stream.client = client_version(first, delta=delta)
        self._streams.add(stream)
        try:
            stream.take(first)
            del first
            await stream.run(read, context.write)
        finally:
            self._streams.discard(stream)
            self._hub.detach(stream)


@asynccontextmanager
async def serve_xds(
    host: str,
    port: int,
    *,
    material: Callable[[], Material],
    hub: Hub[Any],
    lookup: Lookup,
    limits: Limits | None = None,
    others: tuple[Any, ...] = (),
) -> AsyncIterator[int]:
    """See `serving_xds`; gives the bound port."""
    async with serving_xds(
        host, port, material=material, hub=hub, lookup=lookup, limits=limits, others=others
    ) as listener:
        yield listener.port


@asynccontextmanager
async def serving_xds(
    host: str,
    port: int,
    *,
    material: Callable[[], Material],
    hub: Hub[Any],
    lookup: Lookup,
    limits: Limits | None = None,
    others: tuple[Any, ...] = (),
) -> AsyncIterator[XdsListener]:
    """Serve until the block is left.

    `material` is asked before every handshake (from gRPC's thread; it must be quick and not block): whatever it returns
    then is used, so renewed certificates need no restart. Proxies must be of the trust domain that
    its certificate names. `lookup` gives the registered workload of a proxy name. `others` are handlers of other
    services that proxies ask on the same connection.
    Raises OSError if the address cannot be bound.
    """
    limits = limits or hub.limits
    listener = XdsListener(hub, lookup, material, limits, others)
    bound = await listener.start(host, port)
    tasks = [asyncio.create_task(_inspect(hub)), asyncio.create_task(listener.grow(host, bound))]
    try:
        yield listener
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.stop()


class XdsListener:
    """The servers of one port. gRPC takes the number of connections when it begins to listen, and what strangers hold
    costs memory: so there is room for what is registered, and when that has grown another server takes over the port.
    The one before keeps its streams: nobody is disconnected."""

    def __init__(
        self,
        hub: Hub[Any],
        lookup: Lookup,
        material: Callable[[], Material],
        limits: Limits,
        others: tuple[Any, ...] = (),
    ) -> None:
        self._hub = hub
        self._lookup = lookup
        self._material = material
        self._limits = limits
        self._others = others
        self._room = 0
        self._server: XdsServer | None = None
        self._drains = False
        self.port = 0
        self._retired: dict[XdsServer, asyncio.Task[None]] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen with room for what is registered; the port. OSError if that is not possible."""
        limits = self._limits.listening(self._hub.registered)
        self._room = limits.connections
        server = XdsServer(self._hub, self._lookup, self._material, limits, self._others)
        self.port = await server.start(host, port)
        self._server = server
        return self.port

    async def grow(self, host: str, port: int) -> None:
        """Listen anew when more are registered than there is room for, for ever."""
        while not self._drains:
            await asyncio.sleep(_INSPECTION_SECONDS)
            if not self._drains and self._limits.room_for(self._hub.registered) > self._room:
                self._retire()
                await self._take_over(host, port)

    def _retire(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            retired = self._retired[server] = asyncio.create_task(server.retire())
            retired.add_done_callback(lambda _: self._retired.pop(server, None))

    async def _take_over(self, host: str, port: int) -> None:
        """Listen where the server before has just stopped to: it may need a moment for that."""
        for attempt in count():
            await asyncio.sleep(_NEXT_ATTEMPT_SECONDS)
            try:
                await self.start(host, port)
            except Exception as error:  # without another try nobody would listen for proxies any more
                if attempt == _SILENT_ATTEMPTS:
                    _log.error("%s; trying again", error, exc_info=not isinstance(error, OSError))
            else:
                _log.info("%d proxies are registered: room for %d connections", self._hub.registered, self._room)
                return

    async def drain(self, seconds: float) -> None:
        """Take no more connections, and end all streams within so many seconds, one after the other."""
        self._drains = True
        await asyncio.gather(*(server.drain(seconds) for server in self._servers()))

    def _servers(self) -> list[XdsServer]:
        return [*self._retired, *([] if self._server is None else [self._server])]

    async def stop(self) -> None:
        """End all streams and close."""
        servers = self._servers()
        retired = tuple(self._retired.values())
        await asyncio.gather(*(server.stop() for server in servers))
        await asyncio.gather(*retired)


async def _inspect(hub: Hub[Any]) -> None:
    trim, trimmer = system_trim(), Trimmer()
    while True:
        await asyncio.sleep(_INSPECTION_SECONDS)
        try:
            hub.inspect()
        except Exception:  # without it nobody would be found stuck, and waits would not end
            _log.exception("proxies could not be looked at")
        if trim is not None and trimmer.is_due(hub.budget.total, hub.budget.in_flight, time.monotonic()):
            await asyncio.to_thread(trim)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key.encode(), material.chain.encode())], root_certificates=material.bundle.encode()
    )


def _options(limits: Limits) -> list[tuple[str, int]]:
    def milliseconds(seconds: float) -> int:
        return int(seconds * 1000)

    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.max_connection_age_ms", milliseconds(limits.connection_age)),
        ("grpc.max_connection_age_grace_ms", milliseconds(limits.connection_grace)),
        ("grpc.max_connection_idle_ms", milliseconds(limits.connection_idle)),
        ("grpc.server_handshake_timeout_ms", milliseconds(limits.handshake)),
        ("grpc.keepalive_time_ms", milliseconds(limits.keepalive)),
        ("grpc.keepalive_timeout_ms", milliseconds(limits.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", milliseconds(limits.keepalive_timeout)),  # else a minute, whatever stands above
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 10),
        ("grpc.so_reuseport", 0),
    ]
