"""Which addresses of instances are believed: whoever may register an instance must not have callers ask themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from weft.aio.fetch import Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def address_refusal(text: str, networks: Sequence[Network]) -> str:
    """Why an instance is not called at an address; empty if it may be. Only addresses of `networks` may be, or, if
    there are none, all but loopback, link-local, multicast and unspecified ones."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "is no IP address"
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "has a scope"
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast:
        return "is no address of one host"
    if networks:
        stated = any(address.version == each.version and address in each for each in networks)
        return "" if stated else "is in none of the networks that were named"
    if address.is_loopback:
        return "is each caller's own (networks=127.0.0.0/8 allows it)"
    return "is link-local" if address.is_link_local else ""
