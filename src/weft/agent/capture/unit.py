"""Rules that are there from the start of the system: a unit of systemd, and the files with the rules that it reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from weft.agent.capture.firewalls import Firewall
from weft.agent.capture.iptables import removal_text
from weft.agent.capture.programs import find_program, must_run
from weft.agent.capture.routing import removal_words, route_words
from weft.agent.capture.rules import CaptureRules, removal, table_name
from weft.agent.errors import AgentError

UNITS, RULES = Path("/etc/systemd/system"), Path("/etc/weft/capture")
_UNIT = """\
# Made by `weft capture install --persist`; `weft capture uninstall` removes it.
[Unit]
Description=weft: connections of {namespace}/{workload} are led into its proxy
Documentation=man:nft(8) man:iptables-restore(8)
DefaultDependencies=no
Wants=network-pre.target
After=local-fs.target systemd-sysctl.service systemd-modules-load.service nftables.service netfilter-persistent.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={rules}

[Service]
Type=oneshot
RemainAfterExit=yes
{commands}

[Install]
WantedBy=sysinit.target
"""


_IPTABLES = (("v4", "iptables"), ("v6", "ip6tables"))
_FILES = ("nft", "removal.nft", "v4", "v6", "removal.v4", "removal.v6")


def unit_name(namespace: str, workload: str) -> str:
    """The unit of a workload's rules."""
    return f"weft-capture-{table_name(namespace, workload).removeprefix('weft.')}.service"


def unit_files(rules: CaptureRules, firewall: Firewall, units: Path = UNITS, where: Path = RULES) -> dict[Path, str]:
    """Every file, and what is in it: the rules, how they are taken away, and the unit that does both.

    AgentError where rules cannot be kept: cgroups are there when their service has started, and not before.
    """
    if rules.cgroups:
        raise AgentError(
            "--persist: a cgroup is looked up when the rules are loaded, before any service has one; choose by --user"
        )
    base = table_name(rules.namespace, rules.workload).removeprefix("weft.")
    if firewall.name == "nft":
        texts = {"nft": firewall.texts(rules)["nft"], "removal.nft": removal(rules.namespace, rules.workload)}
        start, stop = [_words("nft", f"-f {where / base}.nft")], [_words("nft", f"-f {where / base}.removal.nft")]
    else:
        gone = {f"removal.v{family}": removal_text(rules, family) for family in (4, 6)}
        texts = {**firewall.texts(rules), **gone}
        start = [_words(f"{name}-restore", f"--noflush {where / base}.{end}") for end, name in _IPTABLES]
        stop = [_words(f"{name}-restore", f"--noflush {where / base}.removal.{end}") for end, name in _IPTABLES]
    commands = [f"ExecStart={each}" for each in start] + [f"ExecStop=-{each}" for each in stop]
    if rules.transparent:
        route, rule = (_words("ip", f"-4 {' '.join(words)}") for words in route_words(rules.transparent))
        ends = [_words("ip", f"-4 {' '.join(words)}") for words in removal_words(rules.transparent)]
        commands = [f"ExecStartPre={route}", f"ExecStartPre=-{ends[0]}", f"ExecStartPre={rule}", *commands]
        commands += [f"ExecStopPost=-{each}" for each in ends]
    unit = _UNIT.format(namespace=rules.namespace, workload=rules.workload, rules=where, commands="\n".join(commands))
    files = {where / f"{base}.{name}": text for name, text in texts.items()}
    return {**files, units / unit_name(rules.namespace, rules.workload): unit}


def persist(rules: CaptureRules, firewall: Firewall) -> str:
    """Write the files and have systemd start the unit with the system, where the rules are in force already. The unit's
    name. AgentError, and nothing is left, if it cannot be."""
    files = unit_files(rules, firewall)
    if not Path("/run/systemd/system").is_dir():
        raise AgentError(
            "--persist: this host was not started by systemd; have the rules of --dry-run loaded otherwise"
        )
    name = unit_name(rules.namespace, rules.workload)
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        must_run("systemctl", ("daemon-reload",))
        must_run("systemctl", ("enable", *(("--now",) if firewall.name == "nft" else ()), name))
    except (OSError, AgentError) as error:
        _remove(files)
        raise AgentError(f"--persist: {error}") from error
    return name


def forget(namespace: str, workload: str) -> bool:
    """Take the unit and its files away. Whether there were any."""
    base = table_name(namespace, workload).removeprefix("weft.")
    unit = UNITS / unit_name(namespace, workload)
    files = [*(path for name in _FILES if (path := RULES / f"{base}.{name}").exists())]
    if unit.exists() and find_program("systemctl") and Path("/run/systemd/system").is_dir():
        must_run("systemctl", ("disable", "--now", unit.name))
    found = [*files, *([unit] if unit.exists() else [])]
    _remove(found)
    if unit in found and Path("/run/systemd/system").is_dir():
        must_run("systemctl", ("daemon-reload",))
    return bool(found)


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    for directory in (RULES, RULES.parent):
        with contextlib.suppress(OSError):
            directory.rmdir()  # if it is empty


def _words(program: str, rest: str) -> str:
    return f"{find_program(program) or f'/usr/sbin/{program}'} {rest}"
