"""A TLS server on loopback that answers with what it saw of the hand-shake, and may demand a client's certificate."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from cryptography import x509

from support.certificates import Leaf
from support.loopback import read_body


@dataclass
class TlsServer:
    """Where it listens, how many connections it took, which server names were asked for and what ALPN agreed on."""

    port: int
    context: ssl.SSLContext
    connections: int = 0
    names: list[str] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)

    def use(self, leaf: Leaf) -> None:
        """Show this certificate from now on."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(leaf.chain + leaf.key)
            file.flush()
            self.context.load_cert_chain(file.name)


@contextlib.asynccontextmanager
async def tls_server(
    leaf: Leaf, clients: bytes = b"", alpn: tuple[str, ...] = ("http/1.1",)
) -> AsyncIterator[TlsServer]:
    """A server that shows `leaf`, and demands a certificate by one of `clients` (PEM), if there are any. It answers
    each HTTP/1 request with the server name asked for, the protocol agreed on, and the client's first name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(list(alpn))
    server = TlsServer(0, context)
    server.use(leaf)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())
    asked: dict[int, str] = {}

    def note(handle: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        asked[id(handle)] = name or ""
        server.names.append(name or "")

    context.sni_callback = note

    open_ones: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        open_ones[writer] = asyncio.current_task()
        server.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol() or "")
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await _serve(reader, writer, asked)
        finally:
            del open_ones[writer]
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        tasks = [task for task in open_ones.values() if task is not None]
        for writer in open_ones:
            writer.transport.abort()
        await asyncio.gather(*tasks)


@contextlib.contextmanager
def tls_server_in_thread(leaf: Leaf, clients: bytes = b"") -> Iterator[TlsServer]:
    """The same in a thread of its own, for tests that wait for other processes."""
    started: list[TlsServer] = []
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with tls_server(leaf, clients) as server:
            started.append(server)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, str]) -> None:
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True)
    seen = {"sni": asked.get(id(tls), ""), "alpn": tls.selected_alpn_protocol() or "", "client": _name(shown)}
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.partition(":") for line in head[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        await read_body(reader, headers)
        body = json.dumps({**seen, "host": headers.get("host", ""), "line": head[0]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


def _name(shown: bytes | None) -> str:
    if not shown:
        return ""
    names = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return str(next(iter(names.value)).value)
