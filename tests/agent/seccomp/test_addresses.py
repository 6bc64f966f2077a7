"""Addresses of calls, and the header that tells them."""

from __future__ import annotations

import socket
import struct

import pytest

from weft.agent.seccomp.addresses import Destination, destination, packed_address, proxy_header


@pytest.mark.parametrize(
    ("family", "where", "address"),
    [
        (socket.AF_INET, ("192.0.2.7", 80), b"\xc0\0\2\7"),
        (socket.AF_INET6, ("2001:db8::7", 80, 0, 0), socket.inet_pton(socket.AF_INET6, "2001:db8::7")),
        (socket.AF_INET6, ("::ffff:192.0.2.7", 80, 0, 0), b"\xc0\0\2\7"),
    ],
)
def test_a_destination_is_what_the_structure_says(family: int, where: tuple[str | int, ...], address: bytes) -> None:
    raw = packed_address(family, where)
    assert destination(raw) == Destination(family, address, 80)
    assert destination(raw[: 15 if family == socket.AF_INET else 23]) is None


def test_what_is_no_address_of_ip_is_no_destination() -> None:
    assert destination(b"") is None
    assert destination(struct.pack("=H", socket.AF_UNIX) + b"/run/socket" + b"\0" * 40) is None
    assert destination(b"\0" * 28) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
def test_loopback_is_left_alone(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = destination(packed_address(family, (host, 80)))
    assert found is not None
    assert found.loopback


def test_a_socket_is_led_to_a_loopback_that_it_can_reach() -> None:
    four = Destination(socket.AF_INET, b"\xc0\0\2\7", 80)
    mapped = Destination(socket.AF_INET6, b"\xc0\0\2\7", 80)
    six = Destination(socket.AF_INET6, b"\x20" + b"\0" * 15, 80)
    assert four.here(9, socket.AF_INET, ipv6=True) == ("127.0.0.1", 9)
    assert mapped.here(9, socket.AF_INET6, ipv6=True) == ("::ffff:127.0.0.1", 9)
    assert six.here(9, socket.AF_INET6, ipv6=True) == ("::1", 9)
    assert six.here(9, socket.AF_INET6, ipv6=False) == ("::ffff:127.0.0.1", 9)


def test_the_header_is_that_of_the_specification() -> None:
    header = proxy_header(Destination(socket.AF_INET, b"\xc0\0\2\7", 80), 4660, b"ab")
    body = b"\x7f\0\0\1" + b"\xc0\0\2\7" + b"\x12\x34" + b"\0\x50" + b"\xe7\0\2ab"
    assert header == b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(body)) + body
    six = proxy_header(Destination(socket.AF_INET6, b"\x20" + b"\0" * 15, 80), 1, b"")
    assert six[12:16] == b"\x21\x21" + struct.pack("!H", 36 + 3)
