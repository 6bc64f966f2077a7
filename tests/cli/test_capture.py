"""`weft capture`: what it prints without changing anything, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.state import State, write_state
from weft.cli.main import run
from weft.model.workload import SocketAddress, WorkloadPort
from weft.processes.name import name_of
from weft.settings.home import Home

SERVED = (WorkloadPort(80, SocketAddress("127.0.0.1", 8080), SocketAddress("10.0.0.5", 8080)),)
OTHER = "4000000"
"""A user that no process of a test has."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    """A home with a workload that captures, one without names and one that does not capture; and a process that stands
    for their proxy."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as proxy:
        home, running = Home(tmp_path), name_of(proxy.pid)
        for name, dns, capture in (("shop", 15053, 15001), ("nameless", 0, 15002), ("plain", 0, 0)):
            directory = home.workload("default", name)
            directory.mkdir(parents=True)
            write_state(directory, State(name, "default", envoy=running, dns=dns, capture=capture))
        for name, ports in (("called", SERVED), ("silent", ())):
            directory = home.workload("default", name)
            directory.mkdir(parents=True)
            write_state(directory, State(name, "default", envoy=running, ports=ports, inbound_capture=15006))
        yield str(tmp_path)
        proxy.kill()


def install(home: str, *words: str, workload: str = "shop") -> int:
    return run(["capture", "install", "--home", home, "--workload", workload, "--dry-run", *words])


def test_a_dry_run_prints_the_rules_and_needs_neither_root_nor_nft(
    home: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert install(home, "--user", OTHER, "--exclude-port", "22", "--exclude-address", "10.0.0.0/8") == 0
    printed = capsys.readouterr().out
    for words in (
        f"meta skuid {{ {OTHER} }}",
        "redirect to :15001",
        "udp dport 53 counter redirect to :15053",
        "10.0.0.0/8",
    ):
        assert words in printed
    assert install(home, "--user", OTHER, "--no-dns", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["table"], told["inForce"], told["port"], told["dns"]) == ("weft.default.shop", False, 15001, 0)
    assert "dport 53" not in told["rules"]
    assert install(home, "--user", OTHER, workload="nameless") == 0
    assert "dport 53" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "workload", "said"),
    [
        ((), "shop", "whose connections? give --user, --cgroup or --exclude-user"),
        (("--user", "rooot"), "shop", "this host has no user 'rooot'; do you mean root?"),
        (("--user", str(os.geteuid())), "shop", f"runs as user {os.geteuid()} itself"),
        (
            ("--user", OTHER),
            "plain",
            "plain was not started with `weft run --capture on`; called, nameless, shop, silent were",
        ),
        (("--user", OTHER), "none", "none is no workload of this host; start one with `weft run --capture on`"),
        (("--user", OTHER, "--dns"), "nameless", "--dns: nameless has no responder"),
        (("--user", OTHER, "--exclude-port", "0"), "shop", "'--exclude-port': '0' is no port, which is 1 to 65535"),
        (
            ("--user", OTHER, "--exclude-address", "10.0.0.1/8"),
            "shop",
            "10.0.0.1/8 has host bits set; expected such as",
        ),
        (("--user", OTHER, "--exclude-interface", "loo"), "shop", "no interface 'loo'; do you mean lo?"),
        (("--cgroup", "../etc"), "shop", "--cgroup: "),
        (("--user", OTHER, "--exclude-user", "root"), "shop", "leave --user and --cgroup out"),
        (("--exclude-user", "root"), "called", "--exclude-user: called takes no connections of its host"),
        (("--user", OTHER, "--inbound", "all"), "shop", "--inbound: shop does not take its callers so"),
        (("--user", OTHER, "--guard"), "shop", "--guard: callers are not captured"),
        (("--inbound", "own"), "silent", "--inbound: silent serves no port"),
        (("--exclude-inbound-port", "9100"), "called", "give --inbound all"),
        (("--exclude-source", "10.0.0.1/8"), "called", "--exclude-source: 10.0.0.1/8 has host bits set"),
        (("--with", "ipfw"), "shop", "'ipfw' is not one of 'nft', 'iptables'"),
    ],
)
def test_what_cannot_be_is_said_and_with_what_to_do(
    home: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], workload: str, said: str
) -> None:
    assert install(home, *words, workload=workload) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_callers_are_captured_by_default_where_the_workload_is_called_so(
    home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(home, workload="called") == 0
    printed = capsys.readouterr().out
    assert 'tcp dport { 8080 } counter redirect to :15006 comment "inbound"' in printed
    assert "skuid" not in printed
    assert install(home, "--inbound", "all", "--exclude-inbound-port", "9100", "-o", "json", workload="called") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inbound"]["excluded"]["ports"] == [22, 9100]
    assert told["inbound"]["ports"] == [8080]
    assert install(home, "--guard", "--with", "iptables", "--persist", "-o", "json", workload="called") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inbound"]["guard"] == sorted({0, os.geteuid()})
    assert "weft-capture-default.called.service" in " ".join(told["files"])


def test_all_users_but_some_are_captured_and_the_proxy_s_never_is(
    home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(home, "--exclude-user", OTHER) == 0
    assert f"meta skuid != {{ {os.geteuid()}, {OTHER} }} goto captured" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("install", "--user", OTHER), ("uninstall",), ("show",)])
def test_a_workload_that_is_no_name_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """It would be a part of what root's nft reads."""
    assert run(["capture", *words, "--workload", "shop\nflush ruleset"]) == 2
    assert "expected a name" in capsys.readouterr().err
