"""The rules of capture as nftables' own words: one table for each workload, replaced as a whole in one transaction."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
ALWAYS_LEFT = ("127.0.0.0/8", "::1/128")
"""Where captured connections never are made to: the application's own host, its proxy and its responder."""


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """What is led where: new TCP connections of programs that run as one of `users` (uids) or in one of `cgroups`
    (paths below the mount of cgroup v2, without a slash at either end), to `port` of loopback, and their DNS to `dns`
    (0: it is left alone). Left alone are connections to `ports` and `addresses`, and those that leave by one of
    `interfaces`."""

    namespace: str
    workload: str
    port: int
    dns: int = 0
    users: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()
    interfaces: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table's name: no other program has one that begins so."""
        return table_name(self.namespace, self.workload)


def table_name(namespace: str, workload: str) -> str:
    """The name of a workload's table, in the family ``inet``. ValueError if one of the two is no name: both become
    words of a text that root's nft reads."""
    for name in (namespace, workload):
        if not _NAME.fullmatch(name):
            raise ValueError(f"found {name!r}, expected a name of letters a to z, digits, dots and hyphens")
    return f"weft.{namespace}.{workload}"


def ruleset(rules: CaptureRules) -> str:
    """The text for ``nft -f``: it makes the table, or replaces what it held, and there is no moment between."""
    return f"table inet {rules.table}\ndelete table inet {rules.table}\n{_table(rules)}"


def removal(namespace: str, workload: str) -> str:
    """The text that leaves no such table, whether or not there is one."""
    name = table_name(namespace, workload)
    return f"table inet {name}\ndelete table inet {name}\n"


def _table(rules: CaptureRules) -> str:
    selected = []
    if rules.users:
        selected.append(f"meta skuid {_set(rules.users)} goto captured")
    for path in rules.cgroups:
        selected.append(f'socket cgroupv2 level {path.count("/") + 1} "{path}" goto captured')
    captured = []
    if rules.interfaces:
        captured.append(f"oifname {_set(chr(34) + each + chr(34) for each in rules.interfaces)} accept")
    if rules.dns:
        captured += [f"{protocol} dport 53 redirect to :{rules.dns}" for protocol in ("udp", "tcp")]
    left = ipaddress.collapse_addresses(
        [each for each in (*map(ipaddress.ip_network, ALWAYS_LEFT[:1]), *rules.addresses) if each.version == 4]
    )
    left6 = ipaddress.collapse_addresses(
        [each for each in (*map(ipaddress.ip_network, ALWAYS_LEFT[1:]), *rules.addresses) if each.version == 6]
    )
    captured.append(f"ip daddr {_set(left)} accept")
    captured.append(f"ip6 daddr {_set(left6)} accept")
    if rules.ports:
        captured.append(f"tcp dport {_set(rules.ports)} accept")
    captured.append(f"meta l4proto tcp redirect to :{rules.port}")
    lines = [
        f"table inet {rules.table} {{",
        "\tchain captured {",
        *[f"\t\t{each}" for each in captured],
        "\t}",
        "",
        "\tchain output {",
        "\t\ttype nat hook output priority -100; policy accept;",  # nft 1.0.6 does not take the word dstnat here
        *[f"\t\t{each}" for each in selected],
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _set(items: Iterable[object]) -> str:
    """Of one or more, in braces, each once and in order."""
    found = list(dict.fromkeys(map(str, items)))
    return "{ " + ", ".join(found) + " }"
