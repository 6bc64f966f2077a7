"""The responder on loopback: UDP and TCP, within bounds, also when its own question comes back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from support.dns_names import answerer, question
from support.name_server import address_reply, silent, upstream
from weft.agent.dns.relay import Relay, RelayLimits
from weft.agent.dns.resolvers import Address
from weft.agent.dns.server import Responder, ServerLimits, listening
from weft.testing.polling import eventually

PATIENT = RelayLimits(one=20.0, all=60.0)


@contextlib.asynccontextmanager
async def responder(
    *servers: Address, relay: RelayLimits = PATIENT, limits: ServerLimits | None = None
) -> AsyncIterator[Address]:
    one = answerer()
    made = Responder(lambda: one, Relay(lambda: servers, relay), limits)
    async with listening(made, [("127.0.0.1", 0)]) as addresses:
        yield addresses[0]


async def ask(where: Address, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    over = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await over(dns.message.make_query(name, kind), where[0], port=where[1], timeout=30)


async def again(where: Address, name: str) -> dns.message.Message:
    """As clients do: what was lost is asked again."""
    while True:
        with contextlib.suppress(dns.exception.Timeout):
            return await dns.asyncquery.udp(dns.message.make_query(name, "A"), where[0], port=where[1], timeout=2)


def texts(message: dns.message.Message) -> list[str]:
    return [data.to_text() for one in message.answer for data in one]


async def test_names_of_the_mesh_and_of_others_over_both_protocols() -> None:
    async with upstream() as server, responder(server.address) as where:
        for tcp in (False, True):
            assert texts(await ask(where, "reviews", tcp=tcp)) == ["240.240.0.1"]
            assert texts(await ask(where, "www.example.org", tcp=tcp)) == ["192.0.2.1"]
            assert texts(await ask(where, "old", tcp=tcp)) == ["www.example.org.", "192.0.2.1"]
            assert texts(await ask(where, "again", tcp=tcp)) == ["old.default.svc.cluster.local.", "192.0.2.1"]
            assert texts(await ask(where, "near", tcp=tcp)) == ["reviews.default.svc.cluster.local.", "240.240.0.1"]
        assert server.over_tcp == 3


async def test_names_that_stand_for_each_other_end() -> None:
    async with responder() as where:
        assert (await ask(where, "loop")).rcode() == dns.rcode.SERVFAIL


async def test_without_a_resolver_others_names_fail_and_the_meshs_do_not() -> None:
    async with responder() as where:
        assert (await ask(where, "www.example.org")).rcode() == dns.rcode.SERVFAIL
        assert (await ask(where, "www.example.org", tcp=True)).rcode() == dns.rcode.SERVFAIL
        assert texts(await ask(where, "reviews")) == ["240.240.0.1"]


async def test_an_answer_larger_than_the_client_takes_sends_it_to_tcp() -> None:
    def large(query: bytes) -> list[bytes]:
        answer = address_reply(query)[0]
        return [answer + bytes(4000 - len(answer))]

    async with upstream(large) as server, responder(server.address) as where:
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(_Heard, remote_addr=where)
        query = question("www.example.org", use_edns=False)
        transport.sendto(query)
        answer = await asyncio.wait_for(protocol.heard, 60)
        transport.close()
        assert answer[2] & 0x02
        assert len(answer) == len(query)


class _Heard(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.heard.done():
            self.heard.set_result(data)


async def test_several_questions_on_one_connection_in_one_write() -> None:
    async with responder() as where:
        reader, writer = await asyncio.open_connection(*where)
        queries = [question("reviews"), question("four.default"), question("nope.svc")]
        writer.write(b"".join(len(each).to_bytes(2) + each for each in queries))
        for query in queries:
            answer = await asyncio.wait_for(reader.readexactly(int.from_bytes(await reader.readexactly(2))), 60)
            assert answer[:2] == query[:2]
        writer.close()


async def test_what_is_no_question_ends_a_connection_and_silence_does() -> None:
    async with responder(limits=ServerLimits(idle=0.2)) as where:
        for text in (b"\0\3abc", b"\0\0", b"\xff", b""):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(text)
            assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()


async def test_connections_are_bounded() -> None:
    async with responder(limits=ServerLimits(connections=2, idle=60.0)) as where:
        held = [await asyncio.open_connection(*where) for _ in range(2)]
        for reader, writer in held:
            query = question("reviews")
            writer.write(len(query).to_bytes(2) + query)
            await asyncio.wait_for(reader.readexactly(2), 60)
        reader, writer = await asyncio.open_connection(*where)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        for _, one in (*held, (reader, writer)):
            one.close()


async def test_a_flood_of_others_names_leaves_the_meshs_answered() -> None:
    limits = ServerLimits(at_once=4)
    async with upstream(silent) as server, responder(server.address, limits=limits) as where:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=where
        )
        chance = random.Random(7)
        for _ in range(100):
            transport.sendto(question("www.example.org"))
            transport.sendto(chance.randbytes(chance.randrange(100)))
        await eventually("all four wait", lambda: len(server.queries) == 4)
        assert texts(await again(where, "reviews")) == ["240.240.0.1"]
        assert (await again(where, "www.example.org")).rcode() == dns.rcode.SERVFAIL
        assert len(server.queries) <= 4
        transport.close()


async def test_a_datagram_larger_than_a_question_is_not_looked_at() -> None:
    async with responder(limits=ServerLimits(query=600)) as where:
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(_Heard, remote_addr=where)
        transport.sendto(question("reviews") + bytes(1000))
        assert texts(await ask(where, "reviews")) == ["240.240.0.1"]
        assert not protocol.heard.done()
        transport.close()


async def test_a_question_that_comes_back_ends_at_once_and_another_server_is_asked() -> None:
    """As where all of a host's DNS, our own too, is led here: our question arrives from our own address."""
    one, servers = answerer(), list[Address]()
    relay = Relay(lambda: tuple(servers), PATIENT)
    async with upstream() as server, listening(Responder(lambda: one, relay), [("127.0.0.1", 0)]) as addresses:
        servers += [addresses[0], server.address]
        for tcp in (False, True):
            assert texts(await ask(addresses[0], "www.example.org", tcp=tcp)) == ["192.0.2.1"]
        servers.remove(server.address)
        assert (await ask(addresses[0], "www.example.org")).rcode() == dns.rcode.SERVFAIL
