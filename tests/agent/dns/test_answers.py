"""Answers to single queries: what there is, what there is not, and what is none of our business."""

from __future__ import annotations

import ipaddress

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.dns_names import FULL, TABLE, answerer, question
from weft.agent.dns.answers import Relay, alias_answer, alias_query, failure_with_question, question_end, truncated
from weft.agent.dns.directory import Directory
from weft.model.names import NamedInstance, NameEntry, NameTable

DIRECTORY = Directory(TABLE)


def told(name: str, kind: str = "A", limit: int = 1232, **options: object) -> dns.message.Message:
    answer = answerer().answer(question(name, kind, **options), limit)
    assert isinstance(answer, bytes), f"{name} {kind}: {answer}"
    return dns.message.from_wire(answer)


def records(message: dns.message.Message) -> list[str]:
    return sorted(data.to_text() for one in message.answer for data in one)


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("reviews", "A", ["240.240.0.1"]),
        ("reviews.default", "AAAA", ["fd77::1"]),
        ("reviews.default.svc", "A", ["240.240.0.1"]),
        (FULL, "ANY", ["240.240.0.1", "fd77::1"]),
        (f"_http._tcp.{FULL}", "SRV", [f"0 1 9080 {FULL}."]),
        ("_http._tcp.reviews.default", "SRV", [f"0 1 9080 {FULL}."]),
        ("db.shop", "A", ["10.0.0.1", "10.0.0.2"]),
        ("db.shop", "AAAA", ["fd00::1"]),
        ("db-1.db.shop.svc.cluster.local", "A", ["10.0.0.2"]),
        ("_pg._tcp.db.shop.svc.cluster.local", "SRV", [
            "0 1 5432 db-0.db.shop.svc.cluster.local.", "0 1 5432 db-1.db.shop.svc.cluster.local."
        ]),
        ("old", "CNAME", ["www.example.org."]),
        ("1.0.240.240.in-addr.arpa", "PTR", [f"{FULL}."]),
        (ipaddress.ip_address("fd77::1").reverse_pointer, "PTR", [f"{FULL}."]),
        ("api.example.com", "A", ["240.240.0.2"]),
        ("x.example.com", "A", ["240.240.0.3"]),
        ("x.y.example.com", "AAAA", ["fd77::3"]),
        ("x.deep.example.com", "A", ["240.240.0.4"]),
        ("x.any.shop.svc.cluster.local", "A", ["240.240.0.5"]),
    ],
)  # fmt: skip
def test_what_there_is(name: str, kind: str, wanted: list[str]) -> None:
    message = told(name, kind)
    assert message.rcode() == dns.rcode.NOERROR
    assert records(message) == wanted
    assert message.flags & (dns.flags.AA | dns.flags.RA | dns.flags.QR) == (dns.flags.AA | dns.flags.RA | dns.flags.QR)
    assert not message.authority


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("four.default", "AAAA"),
        ("reviews", "TXT"),
        ("reviews", "HTTPS"),
        ("api.example.com", "HTTPS"),
        ("db-1.db.shop.svc", "AAAA"),
        ("empty.shop", "A"),
        ("default.svc.cluster.local", "A"),
        ("_tcp." + FULL, "SRV"),
        ("any.shop.svc.cluster.local", "A"),
        ("svc.cluster.local", "A"),
        ("cluster.local", "SOA"),
        ("svc", "A"),
    ],
)
def test_what_is_there_without_such_a_record_is_no_error(name: str, kind: str) -> None:
    message = told(name, kind)
    assert message.rcode() == dns.rcode.NOERROR
    assert not message.answer
    soa = message.authority[0]
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == soa[0].minimum == 5
    assert dns.name.from_text(name).is_subdomain(soa.name)


@pytest.mark.parametrize(
    "name", ["nope.default.svc.cluster.local", "a.b.svc", f"x.{FULL}", "www.google.com.cluster.local"]
)
def test_below_the_meshs_own_domains_what_is_not_there_does_not_exist(name: str) -> None:
    message = told(name)
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert message.authority[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nope", "A"),
        ("nope.default", "A"),
        ("x.reviews", "A"),
        ("example.com", "A"),
        ("example.org", "A"),
        ("api.example.com", "MX"),
        ("api.example.com", "TXT"),
        ("_http._tcp.api.example.com", "SRV"),
        ("9.0.240.240.in-addr.arpa", "PTR"),
        ("1.240.240.in-addr.arpa", "PTR"),
        (".".join("z" * 32) + ".ip6.arpa", "PTR"),
        (".".join("1" * 31) + ".ip6.arpa", "PTR"),
        ("arpa", "NS"),
        ("x.arpa", "NS"),
        ("version.bind", "TXT"),
        (".", "NS"),
    ],
)
def test_everything_else_is_for_others(name: str, kind: str) -> None:
    if name == "_http._tcp.api.example.com":
        assert records(told(name, "A")) == ["240.240.0.3"]  # the wildcard beside it is for addresses
    assert answerer().answer(question(name, kind), 1232) == Relay()


def test_another_class_is_for_others() -> None:
    assert answerer().answer(dns.message.make_query("reviews", "A", rdclass="CH").to_wire(), 1232) == Relay()


def test_the_name_comes_back_as_it_was_written() -> None:
    query = question("ReViEwS.dEfAuLt")
    answer = answerer().answer(query, 1232)
    assert isinstance(answer, bytes)
    assert answer[12 : question_end(answer)] == query[12 : question_end(query)]
    message = dns.message.from_wire(answer)
    assert message.answer[0].name.to_text() == "ReViEwS.dEfAuLt."


def test_what_stands_for_another_name_is_followed() -> None:
    found = answerer().answer(question("old", "AAAA"), 1232)
    assert found == Relay("www.example.org", 30)
    assert isinstance(found, Relay)
    query = question("OLD", "AAAA", use_edns=0)
    asked = dns.message.from_wire(alias_query(query, found.alias))
    assert asked.question[0].to_text() == "www.example.org. IN AAAA"
    reply = dns.message.make_response(asked)
    reply.answer.append(dns.rrset.from_text("www.example.org.", 60, "IN", "AAAA", "2001:db8::1"))
    message = dns.message.from_wire(alias_answer(query, found, reply.to_wire(), 1232))
    assert message.id == dns.message.from_wire(query).id
    assert [one.to_text() for one in message.answer] == [
        "OLD. 30 IN CNAME www.example.org.",
        "www.example.org. 60 IN AAAA 2001:db8::1",
    ]
    failed = dns.message.from_wire(alias_answer(query, found, b"\xff" * 30, 1232))
    assert failed.rcode() == dns.rcode.SERVFAIL


def test_times_to_live_tell_services_from_instances() -> None:
    assert told("reviews").answer[0].ttl == 30
    assert told("db.shop").answer[0].ttl == 5


def test_instances_come_in_another_order_each_time() -> None:
    many = tuple(NamedInstance(f"db-{number}", (f"10.0.0.{number}",)) for number in range(1, 9))
    one = answerer(NameTable((NameEntry(("db.shop",), headless=True, instances=many),)))
    query = question("db.shop")
    orders = {one.answer(query, 1232) for _ in range(40)}
    assert len(orders) > 1


def test_what_is_too_long_for_a_datagram_is_asked_for_over_tcp() -> None:
    many = tuple(NamedInstance(f"db-{number}", (f"10.0.{number // 250}.{number % 250}",)) for number in range(500))
    one = answerer(NameTable((NameEntry(("db.shop",), headless=True, instances=many),)))
    for query, limit in (
        (question("db.shop", use_edns=False), 512),
        (question("db.shop", use_edns=0, payload=4096), 1232),
        (question("db.shop", use_edns=0, payload=1), 512),
    ):
        answer = one.answer(query, 1232)
        assert isinstance(answer, bytes)
        assert len(answer) <= limit
        assert answer[2] & 0x02
    whole = one.answer(question("db.shop"), 65_535)
    assert isinstance(whole, bytes)
    assert not whole[2] & 0x02
    assert len(records(dns.message.from_wire(whole))) == 500


def test_edns_is_answered_with_edns_and_a_later_version_is_refused() -> None:
    assert told("reviews", use_edns=0, payload=4096).edns == 0
    assert told("reviews", use_edns=False).edns == -1
    assert told("reviews", use_edns=1).rcode() == dns.rcode.BADVERS


def test_what_is_no_query_is_not_answered_and_what_cannot_be_read_is_told_so() -> None:
    one = answerer()
    query = question("reviews", use_edns=False)
    assert one.answer(query[:11], 1232) is None
    assert one.answer(query[:2] + b"\x80" + query[3:], 1232) is None  # an answer: two servers would talk for ever
    broken = one.answer(query[:-3], 1232)
    assert isinstance(broken, bytes)
    assert (broken[:2], broken[3] & 0x0F) == (query[:2], dns.rcode.FORMERR)
    update = one.answer(query[:2] + b"\x28" + query[3:], 1232)
    assert isinstance(update, bytes)
    assert update[3] & 0x0F in (dns.rcode.NOTIMP, dns.rcode.FORMERR)
    two = one.answer(query[:4] + b"\0\2" + query[6:] + query[12:], 1232)
    assert isinstance(two, bytes)
    assert two[3] & 0x0F == dns.rcode.FORMERR


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_raise(data: bytes) -> None:
    for given_bytes in (data, question("reviews")[:12] + data, question("reviews", use_edns=False) + data):
        found = answerer().answer(given_bytes, 1232)
        assert found is None or isinstance(found, Relay | bytes)
        if isinstance(found, bytes):
            assert found[:2] == given_bytes[:2]
            assert found[2] & 0x80
            assert len(found) <= 1232
        failure_with_question(given_bytes.ljust(12, b"\0"), 2)
        truncated(given_bytes.ljust(12, b"\0"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_query_with_changed_bytes_raises(changes: list[tuple[int, int]]) -> None:
    query = bytearray(question(f"_http._tcp.{FULL}", "SRV", use_edns=0))
    for place, value in changes:
        query[place % len(query)] = value
    found = answerer().answer(bytes(query), 1232)
    assert found is None or isinstance(found, Relay | bytes)


@settings(deadline=None)
@given(st.text(alphabet="abcdefgh.-_*", max_size=40))
def test_names_are_found_whatever_they_look_like(name: str) -> None:
    found = DIRECTORY.find(name)
    assert found is None or not DIRECTORY.domain_of(name) or found == DIRECTORY.find(name)
