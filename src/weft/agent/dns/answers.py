"""Answers: what is said to one question, from the bytes of a query to those of the answer. No I/O.

RFC 1035, RFC 2308 (what is not there), RFC 2782 (SRV), RFC 6891 (EDNS), RFC 8020 (NXDOMAIN), RFC 8482 (ANY).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from weft.agent.dns.directory import Directory, Found

NEGATIVE_SECONDS = 5
"""How long it may be remembered that something is not there: a service that has come is found that soon."""
LEAST_PAYLOAD = 512
MOST_PAYLOAD = 1232
"""Bytes of an answer over UDP: what needs no fragments on any path."""
_HEADER = 12
_ADDRESSES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_OURS = (*_ADDRESSES, dns.rdatatype.HTTPS, dns.rdatatype.SVCB, dns.rdatatype.ANY)
"""Of a host outside the mesh that has an address of it: HTTPS and SVCB records would lead around that address."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Others know: the query goes to them as it is. `alias`: but for another name, which the one asked for stands for.
    `ttl` of that, in seconds."""

    alias: str = ""
    ttl: int = 0


class Answerer:
    """Answers from one directory. `shuffled` gives the addresses of instances in another order each time."""

    def __init__(self, directory: Directory, chance: random.Random | None = None) -> None:
        self._directory = directory
        self._chance = chance or random.Random()  # noqa: S311 - which instance is first is no secret

    def answer(self, query: bytes, limit: int) -> bytes | Relay | None:
        """The answer to a query, of at most `limit` bytes or what the query allows; None for what is none at all.

        Whatever the bytes are, this raises nothing.
        """
        if len(query) < _HEADER or query[2] & 0x80:
            return None
        message = _read(query)
        if not isinstance(message, dns.message.Message):
            return message
        if message.edns > 0:
            response = dns.message.make_response(message, our_payload=MOST_PAYLOAD)
            response.set_rcode(dns.rcode.BADVERS)
            return response.to_wire()
        return self._answer(message, limit)

    def _answer(self, query: dns.message.Message, limit: int) -> bytes | Relay:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        found, domain = self._directory.find(name), self._directory.domain_of(name)
        if found is None and not domain:
            return Relay()
        if found is not None and found.outside and question.rdtype not in _OURS:
            return Relay()
        if found is not None and found.alias and question.rdtype not in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
            return Relay(found.alias, found.ttl)
        response = dns.message.make_response(query, recursion_available=True, our_payload=MOST_PAYLOAD)
        response.flags |= dns.flags.AA
        records = self._records(question.rdtype, found) if found is not None else []
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if found is None or not records:
            response.authority.append(_authority(dns.name.from_text(domain) if domain else question.name))
        else:
            response.answer += _rrsets(question.name, records, found.ttl)
            response.additional += self._targets(found) if question.rdtype == dns.rdatatype.SRV else []
        return response.to_wire(max_size=_room(query, limit), prefer_truncation=True)

    def _records(self, rdtype: int, found: Found) -> list[tuple[int, str]]:
        """Type and text of the records under a name that a question of a type asks for."""
        addresses = [*found.addresses]
        self._chance.shuffle(addresses)
        records = [(_type_of(each), each) for each in addresses]
        records += [(dns.rdatatype.SRV, f"0 1 {port} {target}.") for port, target in found.services]
        records += [(dns.rdatatype.PTR, f"{found.pointer}.")] if found.pointer else []
        records += [(dns.rdatatype.CNAME, f"{found.alias}.")] if found.alias else []
        return [one for one in records if rdtype in (one[0], dns.rdatatype.ANY)]

    def _targets(self, found: Found) -> list[dns.rrset.RRset]:
        """The addresses of what SRV records name."""
        sets: list[dns.rrset.RRset] = []
        for target in dict.fromkeys(target for _, target in found.services):
            there = self._directory.find(target)
            if there is not None:
                records = [(_type_of(each), each) for each in there.addresses]
                sets += _rrsets(dns.name.from_text(target), records, there.ttl)
        return sets


def _read(query: bytes) -> dns.message.Message | bytes | Relay:
    """The query, if it asks one question of the internet's class; else what becomes of it."""
    try:
        message = dns.message.from_wire(query)
    except dns.message.UnknownTSIGKey:
        return Relay()
    except Exception:  # the library's own and whatever hostile bytes bring forth in it
        return failure(query, dns.rcode.FORMERR)
    if message.opcode() != dns.opcode.QUERY:
        return failure(query, dns.rcode.NOTIMP)
    if len(message.question) != 1:
        return failure(query, dns.rcode.FORMERR)
    return message if message.question[0].rdclass == dns.rdataclass.IN else Relay()


def failure(query: bytes, rcode: int) -> bytes:
    """An answer that says only what went wrong, to whatever has the header of a query."""
    flags = (query[2] & 0x79) | 0x80
    return query[:2] + bytes((flags, 0x80 | rcode)) + bytes(8)


def failure_with_question(query: bytes, rcode: int) -> bytes:
    """As `failure`, with the question that a client compares; without it if there is none."""
    end = question_end(query)
    if end == 0:
        return failure(query, rcode)
    return failure(query, rcode)[:4] + bytes((0, 1)) + bytes(6) + query[_HEADER:end]


def truncated(query: bytes) -> bytes:
    """An answer that says to ask again over TCP."""
    answer = bytearray(failure_with_question(query, dns.rcode.NOERROR))
    answer[2] |= 0x02
    return bytes(answer)


def question_end(message: bytes) -> int:
    """Where the one question of a message ends; 0 if there is not one, or it is none."""
    if len(message) < _HEADER or message[4:6] != b"\0\1":
        return 0
    place = _HEADER
    while place < len(message) and message[place]:
        if message[place] > 63:
            return 0
        place += 1 + message[place]
    return place + 5 if place + 5 <= len(message) else 0


def payload(query: bytes) -> int:
    """How many bytes the client takes over UDP, by what it says in a query that can be read."""
    try:
        message = dns.message.from_wire(query)
    except Exception:
        return LEAST_PAYLOAD
    return max(LEAST_PAYLOAD, message.payload) if message.edns >= 0 else LEAST_PAYLOAD


def alias_query(query: bytes, alias: str) -> bytes:
    """A query for what the name in `query` stands for."""
    asked = dns.message.from_wire(query)
    made = dns.message.make_query(alias, asked.question[0].rdtype, use_edns=False)
    made.id = asked.id
    return made.to_wire()


def alias_answer(query: bytes, relay: Relay, answer: bytes, limit: int) -> bytes:
    """The answer to `query` from that to its `alias_query`: the alias, and what that is."""
    asked = dns.message.from_wire(query)
    response = dns.message.make_response(asked, recursion_available=True, our_payload=MOST_PAYLOAD)
    response.answer += _rrsets(asked.question[0].name, [(dns.rdatatype.CNAME, f"{relay.alias}.")], relay.ttl)
    try:
        told = dns.message.from_wire(answer, ignore_trailing=True)
        response.set_rcode(told.rcode())
        response.answer += told.answer
        response.authority += told.authority if not told.answer else []
        response.flags |= told.flags & dns.flags.TC
    except Exception:  # what a server on the way says, read by a library
        response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire(max_size=_room(asked, limit), prefer_truncation=True)


def _room(query: dns.message.Message, limit: int) -> int:
    """The bytes an answer may have."""
    if limit > MOST_PAYLOAD:
        return limit
    return min(limit, max(LEAST_PAYLOAD, query.payload if query.edns >= 0 else LEAST_PAYLOAD))


def _type_of(address: str) -> int:
    version = ipaddress.ip_address(address).version
    return int(dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA)


def _rrsets(name: dns.name.Name, records: Iterable[tuple[int, str]], ttl: int) -> list[dns.rrset.RRset]:
    sets: dict[int, list[dns.rdata.Rdata]] = {}
    for rdtype, text in records:
        sets.setdefault(rdtype, []).append(_rdata(rdtype, text))
    return [dns.rrset.from_rdata_list(name, ttl, each) for each in sets.values()]


@lru_cache(maxsize=4096)
def _rdata(rdtype: int, text: str) -> dns.rdata.Rdata:
    """One record's data: immutable, and slow to make."""
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.RdataType(rdtype), text)


def _authority(zone: dns.name.Name) -> dns.rrset.RRset:
    """The SOA that says how long what is not there may be remembered."""
    text = f"ns.{zone.to_text()} hostmaster.{zone.to_text()} 1 3600 600 86400 {NEGATIVE_SECONDS}"
    return dns.rrset.from_text(zone, NEGATIVE_SECONDS, "IN", "SOA", text)
