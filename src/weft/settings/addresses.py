"""Addresses of this host: which one other hosts reach."""

from __future__ import annotations

import socket

_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses for documentation (RFC 5737, RFC 3849): the way there is the default route. Nothing is sent."""


def local_address_towards(host: str, port: int) -> str:
    """This host's IP address on the way to `host`, as the kernel chooses it. Resolves a name, sends nothing.

    Of a name with both kinds of address IPv4 is taken: not every host has a way for IPv6, though its resolver knows it.
    OSError (socket.gaierror) when the name does not resolve or there is no route.
    """
    failure: OSError | None = None
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    for family, kind, _, _, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        with socket.socket(family, kind) as probe:
            try:
                probe.connect(address)
            except OSError as error:
                failure = error
                continue
            return str(probe.getsockname()[0])
    raise failure or OSError(f"{host} has no address")


def outward_address() -> str:
    """This host's address on its default route; empty when it has none."""
    for there in _ELSEWHERE:
        try:
            return local_address_towards(there, 9)
        except OSError:
            continue
    return ""


def is_of_this_host(address: str) -> bool:
    """Whether the IP `address` can be bound here."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
