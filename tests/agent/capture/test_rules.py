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

from weft.agent.capture import nft
from weft.agent.capture.rules import CaptureRules, removal, ruleset
from weft.agent.capture.selection import CGROUPS, cgroup_path, check_no_loop, user_id
from weft.agent.errors import AgentError
from weft.agent.state import State
from weft.processes.name import name_of

APPS = Path(__file__).parents[2] / "apps"
V2 = [path for path in (CGROUPS, CGROUPS / "unified") if (path / "cgroup.controllers").is_file()]
BY_CGROUP = V2 if os.geteuid() == 0 and shutil.which("nft") and os.access(V2[0] if V2 else "/none", os.W_OK) else []
"""Where cgroups of version 2 can be made: by root, on hosts that have them."""
_ROOTLESS = () if os.geteuid() == 0 else ("--user", "--map-root-user")
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
