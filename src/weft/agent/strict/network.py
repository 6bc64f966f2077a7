"""What the network of a confined application is made of: one loopback interface, to which every address leads, and
rules that redirect. Pure text. None of it keeps the application in: there is no other interface to get out by."""

from __future__ import annotations

OWN_4, OWN_6 = "192.0.0.8", "fd77:6566:74::8"
"""The application's addresses, beside loopback: a dummy one (RFC 7600), and one that nobody else has."""


def links(version: int) -> str:
    """What ``ip -VERSION -batch -`` is told, of IP version 4 or 6: addresses, and a route for all others to here."""
    address = f"{OWN_4}/32" if version == 4 else f"{OWN_6}/128"
    own = OWN_4 if version == 4 else OWN_6
    quick = " nodad" if version == 6 else ""
    # In the main table: in the local one, programs could bind any address.
    return "\n".join(
        (
            "link set lo up",
            f"address add {address} dev lo{quick}",
            f"route add local default dev lo table main src {own}",
            "",
        )
    )


def ruleset(proxy: int, dns: int) -> str:
    """What ``nft -f -`` is told: connections to others are led to the port `proxy` of loopback, questions for names to
    the port `dns`, whoever is asked; what is neither and not for this namespace itself is refused at once. (Where it
    comes in: what is refused on its way out fails with EPERM.)"""
    return f"""\
table inet weft {{
  chain lead {{
    type nat hook output priority -100; policy accept;
    udp dport 53 redirect to :{dns}
    tcp dport 53 redirect to :{dns}
    ip daddr {{ 127.0.0.0/8, {OWN_4} }} accept
    ip6 daddr {{ ::1, {OWN_6} }} accept
    meta l4proto tcp redirect to :{proxy}
  }}
  chain refuse {{
    type filter hook input priority 0; policy accept;
    ip daddr {{ 127.0.0.0/8, {OWN_4} }} accept
    ip6 daddr {{ ::1, {OWN_6} }} accept
    meta l4proto tcp reject with tcp reset
    reject with icmpx port-unreachable
  }}
}}
"""
