"""A name server on loopback that answers as a test says, and remembers what it was asked and from where."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import dns.message
import dns.rrset

Reply = Callable[[bytes], list[bytes]]
"""From a query to the messages that come back."""


def address_reply(query: bytes) -> list[bytes]:
    """192.0.2.1, whatever is asked."""
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "A", "192.0.2.1"))
    return [response.to_wire()]


def failing(rcode: int) -> Reply:
    """An error."""

    def reply(query: bytes) -> list[bytes]:
        response = dns.message.make_response(dns.message.from_wire(query))
        response.set_rcode(rcode)  # type: ignore[arg-type]
        return [response.to_wire()]

    return reply


def silent(_: bytes) -> list[bytes]:
    """Nothing."""
    return []


class Upstream(asyncio.DatagramProtocol):
    """See the module."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.queries: list[bytes] = []
        self.sources: list[tuple[str, int]] = []
        self.over_tcp = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.queries.append(data)
        self.sources.append(addr)
        for message in self.reply(data):
            self.transport.sendto(message, addr)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            self.queries.append(query)
            self.over_tcp += 1
            for message in self.reply(query):
                writer.write(len(message).to_bytes(2) + message)
            await reader.read()
        writer.close()


@contextlib.asynccontextmanager
async def upstream(reply: Reply = address_reply) -> AsyncIterator[Upstream]:
    """A running one, over both protocols."""
    own = Upstream(reply)
    while True:
        server = await asyncio.start_server(own.connection, "127.0.0.1", 0)
        own.address = server.sockets[0].getsockname()[:2]
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: own, local_addr=own.address
            )
            break
        except OSError:  # the port is somebody else's for UDP
            server.close()
    try:
        async with server:
            yield own
    finally:
        transport.close()
        for task in tuple(own.tasks):
            task.cancel()
        await asyncio.gather(*own.tasks, return_exceptions=True)
