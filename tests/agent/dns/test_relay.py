"""The relay: byte for byte, to the servers that were there, believing only answers to what was asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from support.dns_names import question
from support.name_server import address_reply, failing, silent, upstream
from weft.agent.dns.relay import Relay, RelayLimits, answers
from weft.agent.dns.resolvers import Address, Resolvers, parse_resolv_conf, parse_resolver
from weft.testing.polling import eventually

PATIENT = RelayLimits(one=20.0, all=60.0)


def relay(*servers: Address, limits: RelayLimits = PATIENT) -> Relay:
    return Relay(lambda: servers, limits)


async def test_a_query_goes_out_as_it_is_and_its_answer_comes_back_as_it_is() -> None:
    query = question("WwW.Example.ORG", "A", use_edns=0, payload=1400)
    async with upstream() as server:
        for tcp in (False, True):
            answer = await relay(server.address).ask(query, tcp=tcp)
            assert server.queries[-1][2:] == query[2:]
            assert answer is not None
            assert answer == query[:2] + address_reply(query)[0][2:]
        assert server.over_tcp == 1


async def test_each_query_has_an_id_and_a_port_that_nobody_guesses() -> None:
    query = question("www.example.org")
    async with upstream() as server:
        one = relay(server.address)
        for _ in range(12):
            await one.ask(query, tcp=False)
        assert len({each[:2] for each in server.queries}) > 6
        assert len({port for _, port in server.sources}) > 6


@pytest.mark.parametrize(
    "forged",
    [
        lambda query: bytes([query[0] ^ 1]) + address_reply(query)[0][1:],
        lambda query: address_reply(question("evil.example.org"))[0],
        lambda query: query[:2] + address_reply(question("evil.example.org"))[0][2:],
        lambda query: query[:2] + address_reply(question("www.example.org", "AAAA"))[0][2:],
        lambda query: query,
        lambda query: query[:2] + b"\x80\0" + bytes(8),
        lambda query: query[:11],
        lambda _: b"",
    ],
)
async def test_an_answer_to_something_else_is_as_if_it_had_not_come(forged) -> None:  # type: ignore[no-untyped-def]
    async with upstream(lambda query: [forged(query), *address_reply(query)]) as server:
        answer = await relay(server.address).ask(question("www.example.org"), tcp=False)
    assert answer is not None
    assert dns.message.from_wire(answer).answer[0][0].to_text() == "192.0.2.1"


async def test_the_case_of_a_name_may_come_back_otherwise_and_the_client_sees_its_own() -> None:
    query = question("WwW.example.org", use_edns=False)
    async with upstream(lambda asked: address_reply(asked[:12] + asked[12:].lower())) as server:
        answer = await relay(server.address).ask(query, tcp=False)
    assert answer is not None
    assert answer[12 : len(query)] == query[12:]


async def test_a_server_that_does_not_know_is_passed_over_and_the_one_that_did_is_asked_first() -> None:
    query = question("www.example.org")
    async with upstream(failing(dns.rcode.SERVFAIL)) as first, upstream() as second:
        one = relay(first.address, second.address)
        for _ in range(3):
            answer = await one.ask(query, tcp=False)
            assert answer is not None
            assert answer[3] & 0x0F == dns.rcode.NOERROR
        assert (len(first.queries), len(second.queries)) == (1, 3)


async def test_a_server_that_is_not_there_is_passed_over_at_once() -> None:
    async with upstream() as gone:
        pass
    async with upstream() as second:
        for tcp in (False, True):
            assert await relay(gone.address, second.address).ask(question("www.example.org"), tcp=tcp) is not None


async def test_a_silent_server_is_given_up_and_the_next_one_asked() -> None:
    async with upstream(silent) as first, upstream() as second:
        one = relay(first.address, second.address, limits=RelayLimits(one=0.2, all=60.0))
        assert await one.ask(question("www.example.org"), tcp=False) is not None
        assert len(first.queries) == 1


async def test_nobody_is_waited_for_beyond_the_deadline() -> None:
    async with upstream(silent) as first, upstream(silent) as second:
        one = relay(first.address, second.address, limits=RelayLimits(one=60.0, all=0.3))
        assert await one.ask(question("www.example.org"), tcp=False) is None
        assert await one.ask(question("www.example.org"), tcp=True) is None
    assert await relay().ask(question("www.example.org"), tcp=False) is None


async def test_what_all_say_is_told_even_if_it_is_an_error() -> None:
    async with upstream(failing(dns.rcode.REFUSED)) as only:
        answer = await relay(only.address).ask(question("www.example.org"), tcp=False)
    assert answer is not None
    assert answer[3] & 0x0F == dns.rcode.REFUSED


async def test_queries_under_way_are_bounded() -> None:
    async with upstream(silent) as server:
        one = relay(server.address, limits=RelayLimits(at_once=3, one=60.0, all=60.0))
        waiting = [asyncio.create_task(one.ask(question("www.example.org"), tcp=False)) for _ in range(3)]
        await eventually("all have come", lambda: len(server.queries) == 3)
        assert await one.ask(question("www.example.org"), tcp=False) is None
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        server.reply = address_reply
        assert await one.ask(question("www.example.org"), tcp=False) is not None


def test_only_an_error_may_come_without_the_question() -> None:
    query = question("www.example.org", use_edns=False)
    assert answers(query, query[:2] + b"\x81\x05" + bytes(8))
    assert not answers(query, query[:2] + b"\x81\x00" + bytes(8))


def test_resolv_conf_is_read_as_the_c_library_reads_it() -> None:
    text = """
# nameserver 1.1.1.1
search corp.example.com
nameserver 10.0.0.2
nameserver\tfd00::53
nameserver somewhere
nameserver 10.0.0.2
nameserver fe80::1%eth0
nameserver 10.0.0.4
options ndots:5
"""
    assert parse_resolv_conf(text) == (("10.0.0.2", 53), ("fd00::53", 53), ("fe80::1%eth0", 53))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.2", ("10.0.0.2", 53)),
        ("10.0.0.2:5353", ("10.0.0.2", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
        ("[fd00::1]", ("fd00::1", 53)),
    ],
)
def test_a_resolver_is_an_address_and_perhaps_a_port(text: str, wanted: Address) -> None:
    assert parse_resolver(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "dns.example.com", "10.0.0.2:0", "10.0.0.2:65536", "10.0.0.2:x", "10.0.0:53", "[::1"]
)
def test_another_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_resolver(text)


def test_resolvers_follow_their_file_without_ourselves_and_outlast_it(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\nnameserver 10.0.0.2\n")
    own = Resolvers(path, frozenset({("127.0.0.1", 53)}))
    assert own.current() == (("10.0.0.2", 53),)
    path.write_text("nameserver 10.0.0.33\n")
    assert own.current() == (("10.0.0.33", 53),)
    path.unlink()
    assert own.current() == (("10.0.0.33", 53),)
    assert Resolvers(path, frozenset(), (("10.0.0.4", 5353),)).current() == (("10.0.0.4", 5353),)
