"""What is captured for a workload, and that as nftables' own words: a table, replaced as a whole in one transaction."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
MAX_UID = 2**32 - 2
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
"""Where captured connections never are made to: the application's own host, its proxy and its responder."""

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class InboundRules:
    """Whose callers are led to the proxy, at `port` of the address that they came to: those of the workload's `ports`,
    or (`everything`) all who come from other hosts but to the ports `left`; without `ports` (in a pod, which is one
    workload's alone) so are all on this host that call it by its address. Not those from `sources`. With `guard`, the
    workload's ports are reached over loopback by these users (uids) only; None: by all. `transparent`: by TPROXY, which
    leaves addresses as they are."""

    port: int
    ports: tuple[int, ...]
    everything: bool = False
    left: tuple[int, ...] = ()
    sources: Networks = ()
    guard: tuple[int, ...] | None = None
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """What is led where: new TCP connections of programs that run as one of `users` (uids) or in one of `cgroups`
    (paths below the mount of cgroup v2, without a slash at either end), or of every user but `others` (None: of those
    only), to `port` of loopback, and their DNS to `dns` (0: it is left alone). Left alone are connections to `ports`
    and `addresses`, and those that leave or come by one of `interfaces`; of the rest, with `only`, all but those to
    these networks and to `only_ports`. `inbound`: callers are led, too. `proof` is an address of loopback, at which
    connections to `port` are led there (empty: none is): by it somebody who may not read the rules knows of them."""

    namespace: str
    workload: str
    port: int
    dns: int = 0
    users: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    others: tuple[int, ...] | None = None
    ports: tuple[int, ...] = ()
    addresses: Networks = ()
    interfaces: tuple[str, ...] = ()
    only: Networks | None = None
    only_ports: tuple[int, ...] = ()
    inbound: InboundRules | None = None
    proof: str = ""

    @property
    def table(self) -> str:
        """The table's name: no other program has one that begins so."""
        return table_name(self.namespace, self.workload)

    @property
    def outbound(self) -> bool:
        """Whether connections of this host's programs are led anywhere."""
        return bool(self.users or self.cgroups or self.others)

    @property
    def transparent(self) -> int:
        """The number of the routing table that TPROXY needs beside the rules; 0 without it."""
        return self.inbound.port if self.inbound is not None and self.inbound.transparent else 0


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


def of_family(networks: Networks, version: int) -> list[str]:
    """Those of IPv4 or IPv6, as few as can be."""
    four = ipaddress.collapse_addresses([each for each in networks if isinstance(each, IPv4Network)])
    six = ipaddress.collapse_addresses([each for each in networks if isinstance(each, IPv6Network)])
    return list(map(str, four if version == 4 else six))


def _table(rules: CaptureRules) -> str:
    chains = _proof(rules) if rules.proof else []
    chains += _outbound(rules) if rules.outbound else []
    if rules.inbound is not None:
        chains += _inbound(rules.inbound, rules.interfaces)
    return f"table inet {rules.table} {{\n" + "\n".join(chains) + "}\n"


def _proof(rules: CaptureRules) -> list[str]:
    """Before all others, of which each leaves loopback alone."""
    hook = "type nat hook output priority -110; policy accept;"
    return [_chain("proof", [hook, f"ip daddr {rules.proof} tcp dport {rules.port} redirect to :{rules.port}"])]


def _outbound(rules: CaptureRules) -> list[str]:
    selected = []
    if rules.users:
        selected.append(f"meta skuid {_set(rules.users)} goto captured")
    if rules.others:
        selected.append(f"meta skuid != {_set(rules.others)} goto captured")
    for path in rules.cgroups:
        selected.append(f'socket cgroupv2 level {path.count("/") + 1} "{path}" goto captured')
    captured = []
    if rules.interfaces:
        captured.append(f"oifname {_names(rules.interfaces)} accept")
    if rules.dns:
        captured += [f"{each} dport 53 {_counted(f'redirect to :{rules.dns}', 'dns')}" for each in ("udp", "tcp")]
    captured += _left((*LOOPBACK, *rules.addresses), "daddr")
    if rules.ports:
        captured.append(f"tcp dport {_set(rules.ports)} accept")
    led = f"meta l4proto tcp {_counted(f'redirect to :{rules.port}', 'outbound')}"
    if rules.only is None:
        captured.append(led)
    else:
        captured += [f"{match} {led}" for match in _matches(rules.only, "daddr")]
        captured += [f"tcp dport {_set(rules.only_ports)} {led}"] if rules.only_ports else []
    hook = "type nat hook output priority -100; policy accept;"  # nft 1.0.6 does not take the word dstnat here
    return [_chain("captured", captured), _chain("output", [hook, *selected])]


def _inbound(rules: InboundRules, interfaces: tuple[str, ...]) -> list[str]:
    """Whoever comes from another host meets `prerouting`, who is on this one `local`: a sidecar that calls another. A
    workload's own ports come before everything of another."""
    left = [f"iifname {_names(interfaces)} accept"] if interfaces else []
    left += _left(rules.sources, "saddr")
    own = f"tcp dport {_set(rules.ports)}" if rules.ports else "meta l4proto tcp"
    spared = [f"tcp dport {_set(rules.left)} accept"] if rules.everything and rules.left else []
    left += spared
    match = "meta l4proto tcp" if rules.everything else own
    redirect = f"redirect to :{rules.port}"
    nobody = "meta nfproto ipv6 " if rules.transparent else ""  # nobody listens there: they are refused
    hook = f"type nat hook prerouting priority {-90 if rules.everything else -100}; policy accept;"
    chains = [
        _chain("inbound", [*left, f"{match} {_counted(redirect, 'inbound')}"]),
        _chain("prerouting", [hook, f"{nobody}fib daddr type local goto inbound"]),
    ]
    if rules.transparent:
        kept = _counted(f"tproxy ip to :{rules.port} accept", "inbound")
        hook = "type filter hook prerouting priority mangle; policy accept;"
        came = 'iifname != "lo" meta nfproto ipv4 fib daddr type local goto transparent'
        chains += [_chain("transparent", [*left, f"{match} {kept}"]), _chain("came", [hook, came])]
    hook = "type nat hook output priority -95; policy accept;"  # after those whose own connections are captured
    here = _counted(redirect, "local")
    spared = [] if rules.ports else spared
    chains.append(_chain("local", [hook, *_left(LOOPBACK, "daddr"), *spared, f"fib daddr type local {own} {here}"]))
    hook = "type filter hook input priority filter; policy accept;"
    dialled = f"tcp dport {rules.port} ct status & dnat == 0 {_counted('reject with tcp reset', 'dialled')}"
    chains.append(_chain("input", [hook, dialled]))
    if rules.guard is not None:
        chains.append(_guard(rules, own))
    return chains


def _guard(rules: InboundRules, own: str) -> str:
    hook = "type filter hook output priority filter; policy accept;"
    users = f"meta skuid != {_set(rules.guard or ())} {_counted('reject with tcp reset', 'guard')}"
    return _chain("guard", [hook, *[f"{words} {own} {users}" for words in ("ip daddr 127.0.0.0/8", "ip6 daddr ::1")]])


def _left(networks: Networks, side: str) -> list[str]:
    return [f"{match} accept" for match in _matches(networks, side)]


def _matches(networks: Networks, side: str) -> list[str]:
    found = [(word, of_family(networks, version)) for word, version in (("ip", 4), ("ip6", 6))]
    return [f"{word} {side} {_set(each)}" for word, each in found if each]


def _counted(verdict: str, name: str) -> str:
    """The verdict of a rule that counts and has a name."""
    return f'counter {verdict} comment "{name}"'


def _chain(name: str, lines: list[str]) -> str:
    return "".join([f"\tchain {name} {{\n", *[f"\t\t{each}\n" for each in lines], "\t}\n"])


def _names(items: tuple[str, ...]) -> str:
    return _set(f'"{each}"' for each in items)


def _set(items: Iterable[object]) -> str:
    """Of one or more, in braces, each once and in order."""
    found = list(dict.fromkeys(map(str, items)))
    return "{ " + ", ".join(found) + " }"
