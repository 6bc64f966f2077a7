"""The same rules where nftables is not: chains of our own in the tables of iptables and ip6tables.

A table is changed in one transaction (``iptables-restore --noflush``), each family by its own program; both have tried
their text before one is put in force.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from weft.agent.capture.counted import Counted
from weft.agent.capture.programs import must_run, run_program
from weft.agent.capture.routing import remove_route, routed
from weft.agent.capture.rules import LOOPBACK, MAX_UID, CaptureRules, InboundRules, of_family, table_name
from weft.agent.errors import AgentError

_FAMILIES = {4: "iptables", 6: "ip6tables"}
_CHAINS = {
    "nat": ("CAPTURED", "OUTPUT", "INBOUND", "LOCAL", "PROOF"),
    "filter": ("INPUT", "GUARD"),
    "mangle": ("CAME",),
}
_IPV6 = Path("/proc/net/if_inet6")
_TRANSPARENT = re.compile(r"-j TPROXY --on-port (\d+)")
_COUNTED = re.compile(r'^\[(\d+):(\d+)\] .*--comment "?([a-z]+)"?', re.MULTILINE)


def install(rules: CaptureRules) -> None:
    """Put rules in force in place of those there are. AgentError says why nothing has changed."""
    there = in_force(rules.namespace, rules.workload)
    texts = {family: restore_text(rules, family, _saved(family)) for family in families()}
    for family, text in texts.items():
        must_run(f"{_FAMILIES[family]}-restore", ("--noflush", "--test"), text)
    with routed(rules.transparent, lambda: _route_of(in_force(rules.namespace, rules.workload))):
        try:
            for family, text in texts.items():
                must_run(f"{_FAMILIES[family]}-restore", ("--noflush",), text)
        except AgentError:
            if not there:
                uninstall(rules.namespace, rules.workload)
            raise


def uninstall(namespace: str, workload: str) -> bool:
    """Leave nothing of a workload's rules. Whether there were any."""
    found = in_force(namespace, workload)
    nothing = CaptureRules(namespace, workload, 0)
    for family in families() if found else ():
        if text := restore_text(nothing, family, _saved(family)):
            must_run(f"{_FAMILIES[family]}-restore", ("--noflush",), text)
    if before := _route_of(found):
        remove_route(before)
    return bool(found)


def in_force(namespace: str, workload: str) -> str:
    """A workload's rules as iptables prints them, with what they counted; empty if there are none."""
    prefix = _prefix(namespace, workload)
    found = []
    for family in families():
        lines = [line for line in _saved(family, "--counters").splitlines() if f"{prefix}-" in line and line[0] == "["]
        found += [f"# {_FAMILIES[family]}", *lines] if lines else []
    return "\n".join(found)


def counted(namespace: str, workload: str) -> tuple[Counted, ...]:
    """How often each rule of a workload was met that leads somewhere."""
    text = in_force(namespace, workload)
    return tuple(Counted(name, int(packets), int(size)) for packets, size, name in _COUNTED.findall(text))


def restore_text(rules: CaptureRules, family: int, saved: str = "") -> str:
    """The text for ``iptables-restore --noflush`` or that of IPv6. `saved` is what iptables-save says of now: chains of
    this workload that are there are emptied, and gone unless they are filled again."""
    prefix = _prefix(rules.namespace, rules.workload)
    parts = []
    for table, chains in _CHAINS.items():
        wanted = _table(rules, table, family, prefix)
        names = [f"{prefix}-{each}" for each in chains]
        kept = [name for name in names if any(line.startswith(f"-A {name} ") for line in wanted)]
        there = [name for name in names if f"\n:{name} " in f"\n{_part(saved, table)}"]
        calls = [f"-D{line[2:]}" for line in _part(saved, table).splitlines() if _calls(line, names)]
        if not kept and not there:
            continue
        parts += [f"*{table}", *[f":{name} - [0:0]" for name in dict.fromkeys((*there, *kept))], *calls, *wanted]
        parts += [*[f"-X {name}" for name in there if name not in kept], "COMMIT"]
    return "".join(f"{line}\n" for line in parts)


def removal_text(rules: CaptureRules, family: int) -> str:
    """The text that takes away what `restore_text` has made where there was nothing."""
    made = re.sub(r"^-I (\w+) 1 ", r"-A \1 ", restore_text(rules, family), flags=re.MULTILINE)
    return restore_text(CaptureRules(rules.namespace, rules.workload, 0), family, made)


def _calls(line: str, names: list[str]) -> bool:
    """Whether it is a rule of one of the system's own chains that leads to one of ours."""
    words = line.split()
    return len(words) > 1 and words[0] == "-A" and words[1] not in names and words[-1] in names


def _table(rules: CaptureRules, table: str, family: int, prefix: str) -> list[str]:
    inbound, guests = rules.inbound, rules.interfaces
    if table == "nat":
        outbound = _outbound(rules, family, prefix) if rules.outbound else []
        proof = _proof(rules, prefix) if rules.proof and family == 4 else []
        return [*outbound, *(_led(inbound, guests, family, prefix) if inbound is not None else []), *proof]
    if inbound is None:
        return []
    if table == "filter":
        return _closed(inbound, family, prefix)
    return _transparent(inbound, guests, family, prefix) if inbound.transparent and family == 4 else []


def _proof(rules: CaptureRules, prefix: str) -> list[str]:
    led = f"-p tcp -d {rules.proof} --dport {rules.port} -j REDIRECT --to-ports {rules.port}"
    return [f"-A {prefix}-PROOF {led}", f"-I OUTPUT 1 -j {prefix}-PROOF"]


def _outbound(rules: CaptureRules, family: int, prefix: str) -> list[str]:
    captured, output = f"-A {prefix}-CAPTURED", f"-A {prefix}-OUTPUT"
    lines = [f"{captured} -o {each} -j ACCEPT" for each in rules.interfaces]
    if rules.dns:
        lines += [f"{captured} -p {each} --dport 53 {_to(rules.dns, 'dns')}" for each in ("udp", "tcp")]
    lines += [f"{captured} -d {each} -j ACCEPT" for each in of_family((*LOOPBACK, *rules.addresses), family)]
    lines += [f"{captured} -p tcp --dport {each} -j ACCEPT" for each in rules.ports]
    led = _to(rules.port, "outbound")
    if rules.only is None:
        lines.append(f"{captured} -p tcp {led}")
    else:
        lines += [f"{captured} -p tcp -d {each} {led}" for each in of_family(rules.only, family)]
        lines += [f"{captured} -p tcp --dport {each} {led}" for each in rules.only_ports]
    lines += [f"{output} -m owner --uid-owner {each} -g {prefix}-CAPTURED" for each in rules.users]
    lines += [f'{output} -m cgroup --path "{each}" -g {prefix}-CAPTURED' for each in rules.cgroups]
    if rules.others:
        lines += [f"{output} -m owner --uid-owner {each} -j RETURN" for each in rules.others]
        lines.append(f"{output} -m owner --uid-owner 0-{MAX_UID} -g {prefix}-CAPTURED")
    return [*lines, f"-I OUTPUT 1 -j {prefix}-OUTPUT"]


def _led(rules: InboundRules, interfaces: tuple[str, ...], family: int, prefix: str) -> list[str]:
    """See `weft.agent.capture.rules`."""
    to_us = "-m addrtype --dst-type LOCAL"
    lines = []
    if not (rules.transparent and family == 4):
        lines += _matched(rules, interfaces, family, f"{prefix}-INBOUND", _to(rules.port, "inbound"))
        place = "-A PREROUTING" if rules.everything else "-I PREROUTING 1"
        lines.append(f"{place} -p tcp {to_us} -j {prefix}-INBOUND")
    local = f"-A {prefix}-LOCAL"
    lines += [f"{local} -d {each} -j RETURN" for each in of_family(LOOPBACK, family)]
    if rules.ports:
        lines += [f"{local} -p tcp {to_us} --dport {port} {_to(rules.port, 'local')}" for port in rules.ports]
    else:
        lines += [f"{local} -p tcp --dport {port} -j RETURN" for port in rules.left]
        lines.append(f"{local} -p tcp {to_us} {_to(rules.port, 'local')}")
    return [*lines, f"-A OUTPUT -p tcp -j {prefix}-LOCAL"]


def _transparent(rules: InboundRules, interfaces: tuple[str, ...], family: int, prefix: str) -> list[str]:
    kept = f"-m comment --comment inbound -j TPROXY --on-port {rules.port}"
    lines = _matched(rules, interfaces, family, f"{prefix}-CAME", kept)
    return [*lines, f"-I PREROUTING 1 ! -i lo -p tcp -m addrtype --dst-type LOCAL -j {prefix}-CAME"]


def _matched(rules: InboundRules, interfaces: tuple[str, ...], family: int, chain: str, verdict: str) -> list[str]:
    lines = [f"-A {chain} -i {each} -j RETURN" for each in interfaces]
    lines += [f"-A {chain} -s {each} -j RETURN" for each in of_family(rules.sources, family)]
    if not rules.everything:
        return [*lines, *[f"-A {chain} -p tcp --dport {port} {verdict}" for port in rules.ports]]
    lines += [f"-A {chain} -p tcp --dport {port} -j RETURN" for port in rules.left]
    return [*lines, f"-A {chain} -p tcp {verdict}"]


def _closed(rules: InboundRules, family: int, prefix: str) -> list[str]:
    reset = "-j REJECT --reject-with tcp-reset"
    dialled = f"-p tcp --dport {rules.port} -m conntrack ! --ctstate DNAT -m comment --comment dialled"
    lines = [f"-A {prefix}-INPUT {dialled} {reset}", f"-I INPUT 1 -p tcp -j {prefix}-INPUT"]
    if rules.guard is not None:
        guard = f"-A {prefix}-GUARD"
        lines += [f"{guard} -m owner --uid-owner {each} -j RETURN" for each in rules.guard]
        lines += [f"{guard} -p tcp --dport {port} -m comment --comment guard {reset}" for port in rules.ports]
        lines += [f"-I OUTPUT 1 -p tcp -d {each} -j {prefix}-GUARD" for each in of_family(LOOPBACK, family)]
    return lines


def _to(port: int, name: str) -> str:
    return f"-m comment --comment {name} -j REDIRECT --to-ports {port}"


def _prefix(namespace: str, workload: str) -> str:
    """What the names of its chains begin with: these are short, so it is a digest."""
    return f"WEFT-{hashlib.sha256(table_name(namespace, workload).encode()).hexdigest()[:12]}"


def families() -> tuple[int, ...]:
    """The versions of IP that this host speaks."""
    return (4, 6) if _IPV6.exists() else (4,)


def _saved(family: int, *words: str) -> str:
    done = run_program(f"{_FAMILIES[family]}-save", words)
    if done.returncode != 0:
        raise AgentError(f"{_FAMILIES[family]} cannot list its rules: {done.stderr.strip()}")
    return done.stdout


def _part(saved: str, table: str) -> str:
    """What is said of one table."""
    _, _, rest = f"\n{saved}".partition(f"\n*{table}\n")
    return rest.partition("\nCOMMIT")[0]


def _route_of(text: str) -> int:
    found = _TRANSPARENT.search(text)
    return int(found[1]) if found else 0
