"""The text of the rules, and whom they may not be for."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from weft.agent.capture import iptables, nft, unit
from weft.agent.capture.firewalls import IPTABLES, NFT, Firewall, chosen_firewall, firewalls_there
from weft.agent.capture.rules import CaptureRules, InboundRules, removal, ruleset
from weft.agent.capture.selection import CGROUPS, cgroup_path, check_no_loop, user_id
from weft.agent.capture.unit import unit_files, unit_name
from weft.agent.errors import AgentError
from weft.agent.state import State
from weft.processes.name import name_of

APPS = Path(__file__).parents[2] / "apps"
V2 = [path for path in (CGROUPS, CGROUPS / "unified") if (path / "cgroup.controllers").is_file()]
BY_CGROUP = V2 if os.geteuid() == 0 and shutil.which("nft") and os.access(V2[0] if V2 else "/none", os.W_OK) else []
"""Where cgroups of version 2 can be made: by root, on hosts that have them."""
_ROOTLESS = () if os.geteuid() == 0 else ("--user", "--map-root-user")
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
KINDS = [kind for kind in ("nft", "legacy") if os.geteuid() == 0 and shutil.which(f"iptables-{kind}", path=SBIN)]
"""Of iptables: one speaks to nftables, the other to the older part of the kernel."""
RULES = CaptureRules("default", "shop", 15001, users=(1001,))
EVERYTHING = CaptureRules(
    "default",
    "shop",
    15001,
    dns=15053,
    users=(1001, 1002),
    cgroups=("system.slice/shop.service",),
    ports=(22, 9999),
    addresses=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("fd00::1")),
    interfaces=("eth0",),
)
WANTED = """\
table inet weft.default.shop
delete table inet weft.default.shop
table inet weft.default.shop {
	chain captured {
		oifname { "eth0" } accept
		udp dport 53 counter redirect to :15053 comment "dns"
		tcp dport 53 counter redirect to :15053 comment "dns"
		ip daddr { 10.0.0.0/8, 127.0.0.0/8 } accept
		ip6 daddr { ::1/128, fd00::1/128 } accept
		tcp dport { 22, 9999 } accept
		meta l4proto tcp counter redirect to :15001 comment "outbound"
	}

	chain output {
		type nat hook output priority -100; policy accept;
		meta skuid { 1001, 1002 } goto captured
		socket cgroupv2 level 2 "system.slice/shop.service" goto captured
	}
}
"""


def test_everything_that_can_be_said_is_in_the_text_in_its_order() -> None:
    assert ruleset(EVERYTHING) == WANTED


def test_what_nobody_asks_for_is_not_in_it() -> None:
    text = ruleset(RULES)
    for word in ("oifname", "dport", "cgroupv2"):
        assert word not in text
    assert "127.0.0.0/8" in text
    assert "::1/128" in text


def test_a_removal_names_the_table_and_nothing_else() -> None:
    assert removal("default", "shop").splitlines() == [
        "table inet weft.default.shop", "delete table inet weft.default.shop"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "x y", "x; flush ruleset", "x {}\nflush ruleset", 'x"', "X", "-x"])
def test_what_is_no_name_never_comes_into_the_text(name: str) -> None:
    for where in ((name, "shop"), ("default", name)):
        with pytest.raises(ValueError, match="expected a name"):
            removal(*where)
        with pytest.raises(ValueError, match="expected a name"):
            ruleset(CaptureRules(*where, port=15001, users=(1001,)))


@pytest.mark.parametrize("program", ["nft"] if shutil.which("nft") else [])
def test_nft_takes_the_text_as_often_as_it_is_given_and_leaves_nothing_of_it(tmp_path: Path, program: str) -> None:
    """In a network namespace of its own."""
    rules, gone = tmp_path / "rules", tmp_path / "gone"
    rules.write_text(ruleset(replace(EVERYTHING, cgroups=(), interfaces=("lo",))))
    gone.write_text(removal("default", "shop"))
    steps = (f"-f {rules}", f"-f {rules}", "list tables", f"-f {gone}", f"-f {gone}", "list ruleset")
    script = " && ".join(f"{program} {words}" for words in steps)
    done = subprocess.run(
        ["unshare", *_ROOTLESS, "--net", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "table inet weft.default.shop\n"), done.stderr


@pytest.mark.parametrize("mount", BY_CGROUP)
def test_what_is_in_the_cgroup_is_led_and_nothing_else(tmp_path: Path, mount: Path) -> None:
    """In namespaces of its own, in which cgroup v2 is where nft looks for it."""
    group = mount / f"weft-test-{os.getpid()}" / "shop"
    group.mkdir(parents=True)
    try:
        path = f"{group.parent.name}/shop"
        rules = tmp_path / "rules"
        rules.write_text(ruleset(replace(RULES, users=(), cgroups=(path,), port=15999)))
        program = f"{sys.executable} {APPS / 'connects_by_cgroup.py'} 15999 /sys/fs/cgroup/{path}"
        steps = (
            f"mount --bind {mount} /sys/fs/cgroup", "ip link set lo up", "ip route add default dev lo",
            f"nft -f {rules}", program,
        )  # fmt: skip
        words = ("unshare", "--net", "--mount", "sh", "-c", " && ".join(steps))
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["False", "True"], done.stderr
    finally:
        group.rmdir()
        group.parent.rmdir()


def test_users_are_found_by_name_and_number_and_the_nearest_is_told() -> None:
    assert (user_id("root"), user_id("1001")) == (0, 1001)
    with pytest.raises(AgentError, match=r"no user 'rooot'; do you mean root\?"):
        user_id("rooot")
    for text in ("", "-1", "99999999999", "\0"):
        with pytest.raises(AgentError, match="has no user"):
            user_id(text)


def test_cgroups_are_found_below_the_mount_and_the_nearest_is_told(tmp_path: Path) -> None:
    (tmp_path / "system.slice" / "shop.service").mkdir(parents=True)
    with pytest.raises(AgentError, match="no mount of cgroup v2"):
        cgroup_path("system.slice", tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    for text in ("system.slice/shop.service", "/system.slice/shop.service/", f"{tmp_path}/system.slice/shop.service"):
        assert cgroup_path(text, tmp_path) == "system.slice/shop.service"
    with pytest.raises(AgentError, match=r"do you mean system.slice/shop.service\?"):
        cgroup_path("system.slice/shop.servic", tmp_path)
    for text in ("/", "../x", 'a"b'):
        with pytest.raises(AgentError, match="expected a path below"):
            cgroup_path(text, tmp_path)


def test_a_proxy_that_would_be_captured_itself_is_refused() -> None:
    words = (sys.executable, "-c", "input()")
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        try:
            name = name_of(process.pid)
            state = State("shop", "default", envoy=name, capture=15001)
            own = CaptureRules("default", "shop", 15001, users=(os.geteuid(),))
            with pytest.raises(AgentError, match=f"runs as user {os.geteuid()} itself"):
                check_no_loop(own, state)
            check_no_loop(CaptureRules("default", "shop", 15001, users=(4000000,)), state)
        finally:
            process.kill()
    with pytest.raises(AgentError, match="does not run"):
        check_no_loop(own, State("shop", "default"))


def test_without_nft_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(AgentError, match="install the package nftables"):
        nft.apply_rules("")


def test_without_root_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/false")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AgentError, match="only root may"):
        nft.apply_rules("")


# -- callers -----------------------------------------------------------------------------------------------------------

CALLED = InboundRules(15006, (7000, 9080))
ALL_CALLED = InboundRules(
    15006,
    (9080,),
    everything=True,
    left=(22, 9090),
    sources=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::1")),
    guard=(0, 5),
    transparent=True,
)
ALL = replace(EVERYTHING, cgroups=(), interfaces=("lo",), inbound=ALL_CALLED)
WANTED_INBOUND = """\
table inet weft.default.shop {
	chain inbound {
		tcp dport { 7000, 9080 } counter redirect to :15006 comment "inbound"
	}

	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local goto inbound
	}

	chain local {
		type nat hook output priority -95; policy accept;
		ip daddr { 127.0.0.0/8 } accept
		ip6 daddr { ::1/128 } accept
		fib daddr type local tcp dport { 7000, 9080 } counter redirect to :15006 comment "local"
	}

	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 15006 ct status & dnat == 0 counter reject with tcp reset comment "dialled"
	}
}
"""


def test_who_captures_callers_only_has_no_word_about_users() -> None:
    assert ruleset(replace(RULES, users=(), inbound=CALLED)).partition("shop\ntable")[2] == WANTED_INBOUND[5:]


def _in_a_namespace(*commands: str) -> subprocess.CompletedProcess[str]:
    words = ["unshare", *_ROOTLESS, "--net", "sh", "-c", " && ".join(("ip link set lo up", *commands))]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", ["nft"] if shutil.which("nft") else [])
def test_nft_takes_all_that_can_be_said_of_callers(tmp_path: Path, program: str) -> None:
    rules = tmp_path / "rules"
    rules.write_text(ruleset(ALL))
    done = _in_a_namespace(f"{program} -f {rules}", f"{program} -f {rules}", f"{program} list tables")
    assert (done.returncode, done.stdout) == (0, "table inet weft.default.shop\n"), done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_iptables_takes_the_same_and_is_left_as_it_was(tmp_path: Path, kind: str) -> None:
    """In both of its kinds, each found by the names that weft calls, beside a rule of somebody else."""
    for family in ("iptables", "ip6tables"):
        for suffix in ("-save", "-restore", ""):
            program = shutil.which(f"{family}-{kind}{suffix}", path=SBIN)
            assert program is not None
            (tmp_path / f"{family}{suffix}").symlink_to(program)
    path = f"export PATH={tmp_path}:$PATH"
    saved = "(iptables-save; ip6tables-save) | grep -v '^[#:]'"
    program = f"{sys.executable} {APPS / 'iptables_rules.py'}"
    other = "iptables -t nat -A OUTPUT -p tcp --dport 81 -j ACCEPT"
    done = _in_a_namespace(
        path, other, f"{saved} > {tmp_path}/before || true", program, f"{saved} || true", "ip -4 rule"
    )
    printed, _, after = done.stdout.partition("-- after\n")
    assert done.returncode == 0, done.stderr
    for words in (
        "--uid-owner 1001 -g WEFT-", "-j REDIRECT --to-ports 15006", "-j TPROXY --on-port 15006",
        "-s fd00::1/128 -j RETURN",
        "! --ctstate DNAT", "32765:\tfrom 127.0.0.0/8 iif lo lookup 15006",
    ):  # fmt: skip
        assert words in printed, words
    assert "WEFT" not in after
    assert "15006" not in after
    assert [line for line in after.splitlines() if line.startswith("-")] == [
        line for line in (tmp_path / "before").read_text().splitlines() if line.startswith("-")
    ]


def test_all_users_but_some_are_captured_by_iptables() -> None:
    lines = iptables.restore_text(replace(RULES, users=(), others=(0, 5)), 4).splitlines()
    found = [line.partition(" -m owner ")[2] for line in lines if "-m owner" in line]
    assert [each.partition(" WEFT")[0] for each in found] == [
        "--uid-owner 0 -j RETURN", "--uid-owner 5 -j RETURN", "--uid-owner 0-4294967294 -g",
    ]  # fmt: skip


def test_a_removal_of_iptables_names_what_was_made_and_nothing_else() -> None:
    for family in (4, 6):
        made, gone = iptables.restore_text(ALL, family), iptables.removal_text(ALL, family)
        chains = {line.split()[0][1:] for line in made.splitlines() if line.startswith(":")}
        assert chains == {line.split()[1] for line in gone.splitlines() if line.startswith("-X ")}
        assert "-A" not in gone
        calls = [
            line for line in made.splitlines() if " OUTPUT " in line or " INPUT " in line or " PREROUTING " in line
        ]
        assert len(calls) == len([line for line in gone.splitlines() if line.startswith("-D ")])


# -- rules that are there from the start -------------------------------------------------------------------------------


@pytest.mark.parametrize("firewall", [NFT, IPTABLES], ids=["nft", "iptables"])
def test_a_unit_loads_the_rules_before_the_network_and_takes_them_away(tmp_path: Path, firewall: Firewall) -> None:
    files = unit_files(ALL, firewall, tmp_path / "units", tmp_path / "rules")
    file = tmp_path / "units" / unit_name("default", "shop")
    text = files[file]
    assert file.name == "weft-capture-default.shop.service"
    for words in (
        "Before=network-pre.target",
        "ExecStop=-",
        "WantedBy=sysinit.target",
        "rule add from 127.0.0.0/8 iif lo",
    ):
        assert words in text
    for path in set(files) - {file}:
        assert str(path) in text
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    if (program := shutil.which("systemd-analyze")) is not None:
        done = subprocess.run([program, "verify", str(file)], capture_output=True, text=True, check=False)
        assert file.name not in done.stderr, done.stderr


@pytest.mark.parametrize("firewall", [each for each in (NFT, IPTABLES) if each.there and os.geteuid() == 0])
def test_what_a_unit_runs_makes_the_rules_and_leaves_nothing_of_them(tmp_path: Path, firewall: Firewall) -> None:
    files = unit_files(ALL, firewall, tmp_path, tmp_path)
    for path, content in files.items():
        path.write_text(content)
    lines = files[tmp_path / unit_name("default", "shop")].splitlines()
    words = [line.partition("=") for line in lines if line.startswith("Exec")]
    starts = [rest.lstrip("-") + (" || true" if rest[0] == "-" else "") for name, _, rest in words if "Start" in name]
    stops = [rest.lstrip("-") for name, _, rest in words if "Stop" in name]
    look = {"nft": "nft list tables", "iptables": "iptables-save | grep -o WEFT -m 1"}[firewall.name]
    looks = f"({look}; ip -4 rule | grep -c 15006 || true)"
    done = _in_a_namespace(*[f"({each})" for each in starts], looks, *stops, looks)
    found = {"nft": ["table", "inet", "weft.default.shop"], "iptables": ["WEFT"]}[firewall.name]
    assert done.stdout.split() == [*found, "1", "0"], done


def test_a_unit_is_written_started_and_forgotten_and_one_that_is_refused_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    refused: list[str] = []

    def systemctl(program: str, words: tuple[str, ...]) -> str:
        asked.append(" ".join((program, *words)))
        if words[0] in refused:
            raise AgentError("no")
        return ""

    units, rules = tmp_path / "units", tmp_path / "weft" / "capture"
    for name, value in {"UNITS": units, "RULES": rules, "must_run": systemctl, "_has_systemd": lambda: True}.items():
        monkeypatch.setattr(unit, name, value)
    other = units / "weft-capture-default.other.service"
    units.mkdir()
    other.touch()
    name = "weft-capture-default.shop.service"
    for firewall, now in ((NFT, "--now "), (IPTABLES, "")):
        asked.clear()
        unit.persist(ALL, firewall)
        assert unit.is_kept("default", "shop")
        assert set(unit_files(ALL, firewall, units, rules)) == {*rules.iterdir(), units / name}
        assert unit.forget("default", "shop")
        assert not unit.forget("default", "shop")
        again = "systemctl daemon-reload"
        assert asked == [again, f"systemctl enable {now}{name}", f"systemctl disable --now {name}", again]
        assert list(tmp_path.rglob("*")) == [units, other]
    refused.append("enable")
    with pytest.raises(AgentError, match="the rules are in force until the system ends"):
        unit.persist(ALL, NFT)
    assert list(tmp_path.rglob("*")) == [units, other]
    monkeypatch.setattr(unit, "_has_systemd", lambda: False)
    with pytest.raises(AgentError, match="systemd has not started this system"):
        unit.check_systemd()


def test_a_cgroup_is_not_kept() -> None:
    with pytest.raises(AgentError, match="choose by --user"):
        unit_files(EVERYTHING, NFT)


def test_iptables_is_taken_where_only_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"nft", "iptables-restore"}
    monkeypatch.setattr("weft.agent.capture.firewalls.find_program", lambda name: name if name in there else None)
    assert (chosen_firewall(""), chosen_firewall("iptables")) == (NFT, IPTABLES)
    there.remove("nft")
    assert (chosen_firewall(""), firewalls_there()) == (IPTABLES, (IPTABLES,))
    there.clear()
    assert chosen_firewall("") is NFT
    with pytest.raises(AgentError, match="neither nft nor iptables"):
        firewalls_there()
