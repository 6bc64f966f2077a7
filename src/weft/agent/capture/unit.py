"""Rules that are there from the start of the system: a unit of systemd, and the files with the rules that it reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from weft.agent.capture.firewalls import Firewall
from weft.agent.capture.iptables import families, removal_text, restore_text
from weft.agent.capture.programs import find_program, must_run
from weft.agent.capture.routing import removal_words, route_words
from weft.agent.capture.rules import CaptureRules, removal, ruleset, table_name
from weft.agent.errors import AgentError

UNITS, RULES = Path("/etc/systemd/system"), Path("/etc/weft/capture")
_FILES = ("nft", "removal.nft", "v4", "v6", "removal.v4", "removal.v6")
_UNIT = """\
# Made by `weft capture install --persist`; `weft capture uninstall` removes it.
[Unit]
Description=weft: connections of {workload} are led into its proxy
Documentation=man:nft(8) man:iptables-restore(8)
DefaultDependencies=no
Wants=network-pre.target
After=local-fs.target systemd-sysctl.service systemd-modules-load.service nftables.service netfilter-persistent.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={where}
{follows}
[Service]
Type=oneshot
RemainAfterExit=yes
{commands}

[Install]
WantedBy=sysinit.target
"""
_WITH_NFTABLES = """\
# The start, reload and stop of this one take every table away, and so that of these rules.
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
"""


def unit_name(namespace: str, workload: str) -> str:
    """The unit of a workload's rules."""
    return f"weft-capture-{_base(namespace, workload)}.service"


def unit_files(rules: CaptureRules, firewall: Firewall, units: Path = UNITS, where: Path = RULES) -> dict[Path, str]:
    """Every file, and what is in it: the rules, how they are taken away, and the unit that does both.

    AgentError where rules cannot be kept: cgroups are there when their service has started, and not before.
    """
    if rules.cgroups:
        raise AgentError(
            "--persist: a cgroup is looked up when the rules are loaded, before any service has one; choose by --user"
        )
    base = _base(rules.namespace, rules.workload)
    if firewall.name == "nft":
        loaded = [("nft", "-f", "nft", ruleset(rules), removal(rules.namespace, rules.workload))]
    else:
        loaded = [
            (program, "--noflush", f"v{version}", restore_text(rules, version), removal_text(rules, version))
            for version, program in ((4, "iptables-restore"), (6, "ip6tables-restore"))
            if version in families()
        ]
    files: dict[Path, str] = {}
    before, after = _routing(rules.transparent) if rules.transparent else ([], [])
    start, stop = [], []
    for program, option, name, text, gone in loaded:
        made, removed = where / f"{base}.{name}", where / f"{base}.removal.{name}"
        files |= {made: text, removed: gone}
        start.append(f"ExecStart={_path(program)} {option} {made}")
        stop.append(f"ExecStop=-{_path(program)} {option} {removed}")
    again = [each.replace("ExecStart", "ExecReload") for each in start] if firewall.name == "nft" else []
    unit = _UNIT.format(
        workload=f"{rules.namespace}/{rules.workload}",
        where=where,
        follows=_WITH_NFTABLES if firewall.name == "nft" else "",
        commands="\n".join([*before, *start, *again, *stop, *after]),
    )
    return {**files, units / unit_name(rules.namespace, rules.workload): unit}


def is_kept(namespace: str, workload: str) -> bool:
    """Whether there is a unit for a workload's rules."""
    return (UNITS / unit_name(namespace, workload)).exists()


def check_systemd() -> None:
    """AgentError where the system was not started by systemd."""
    if not _has_systemd():
        raise AgentError("--persist: systemd has not started this system; have what --dry-run prints loaded otherwise")


def persist(rules: CaptureRules, firewall: Firewall) -> None:
    """Write the files and have systemd start the unit with the system. The rules are in force already. AgentError, and
    nothing is left of unit and files, if it cannot be."""
    files = unit_files(rules, firewall, UNITS, RULES)
    name = unit_name(rules.namespace, rules.workload)
    # What iptables loads has to be loaded once; a table of nft is replaced.
    now = ("--now",) if firewall.name == "nft" else ()
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        must_run("systemctl", ("daemon-reload",))
        must_run("systemctl", ("enable", *now, name))
    except (OSError, AgentError) as error:
        with contextlib.suppress(AgentError):
            must_run("systemctl", ("disable", name))
        _remove(files)
        raise AgentError(f"--persist: {error}; the rules are in force until the system ends") from error


def forget(namespace: str, workload: str) -> bool:
    """Take the unit and its files away. Whether there were any."""
    base, unit = _base(namespace, workload), UNITS / unit_name(namespace, workload)
    found = [path for path in (*[RULES / f"{base}.{name}" for name in _FILES], unit) if path.exists()]
    if unit in found and _has_systemd():
        must_run("systemctl", ("disable", "--now", unit.name))
    _remove(found)
    if unit in found and _has_systemd():
        must_run("systemctl", ("daemon-reload",))
    return bool(found)


def _routing(number: int) -> tuple[list[str], list[str]]:
    """The commands before the rules and after them. A rule of routing can be added twice, and is not."""
    ip = f"{_path('ip')} -4"
    route, rule = (" ".join(words) for words in route_words(number))
    ends = [" ".join(words) for words in removal_words(number)]
    before = [f"ExecStartPre={ip} {route}", f"ExecStartPre=-{ip} {ends[0]}", f"ExecStartPre={ip} {rule}"]
    return before, [f"ExecStopPost=-{ip} {each}" for each in ends]


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _base(namespace: str, workload: str) -> str:
    return table_name(namespace, workload).removeprefix("weft.")


def _path(program: str) -> str:
    return find_program(program) or f"/usr/sbin/{program}"


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    for directory in (RULES, RULES.parent):
        with contextlib.suppress(OSError):
            directory.rmdir()  # if it is empty
