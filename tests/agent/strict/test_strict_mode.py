"""Where an application cannot be confined the reason is told, and what to do; never is it less than was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import CaptureParameters, DnsParameters, InboundCaptureParameters, RunParameters
from weft.agent.seccomp import mode
from weft.agent.seccomp.mode import captured_by
from weft.agent.state import CapturedBy, State
from weft.agent.strict import door
from weft.agent.strict import mode as strict_mode
from weft.agent.strict.door import DoorError, open_door
from weft.agent.strict.launching import entering, relaying
from weft.agent.strict.mode import advice, check_strict, why_not_strict
from weft.agent.strict.network import links, ruleset
from weft.settings.home import Home

STRICT = CaptureParameters(how="strict")
COMMAND = ("./shop",)
HERE = [] if why_not_strict() else ["strict"]
NONE_LEFT = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
SAYS = "from weft.agent.strict.mode import why_not_strict; print(why_not_strict())"


def test_strict_is_strict_or_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "why_not_strict", lambda: "")
    assert captured_by(STRICT, COMMAND, None) is CapturedBy.STRICT
    monkeypatch.setattr(mode, "why_not_strict", lambda: "user namespaces are refused")
    with pytest.raises(AgentError, match="--capture strict does not work here: user namespaces are refused"):
        captured_by(STRICT, COMMAND, None)
    with pytest.raises(AgentError, match="needs a COMMAND") as raised:
        captured_by(STRICT, (), None)
    assert raised.value.exit_code == EXIT_USAGE


def test_what_runs_under_a_holder_does_not_pass_for_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "why_not_strict", lambda: "no")
    with pytest.raises(AgentError, match="does not work here"):
        captured_by(STRICT, COMMAND, State("a", "default", captured_by=CapturedBy.SECCOMP))
    assert captured_by(STRICT, COMMAND, State("a", "default", captured_by=CapturedBy.STRICT)) is CapturedBy.STRICT


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dns": None}, "leave --dns off out"),
        ({"inbound_capture": InboundCaptureParameters(transparent=True)}, "give --inbound-capture on"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, more: dict[str, None], said: str) -> None:
    given = {"dns": DnsParameters(), **more}
    with pytest.raises(AgentError, match=said):
        check_strict(RunParameters(home=Home(tmp_path), name="shop", capture=STRICT, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor takes their rights away"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", "Docker: --security-opt"),
    ],
)
def test_what_to_do_follows_from_the_settings_of_the_system(tmp_path: Path, place: str, value: str, said: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(f"{value}\n")
    assert said in advice(tmp_path)


@pytest.mark.parametrize("_", HERE)
def test_a_system_that_allows_no_namespaces_is_told_of_by_trying(_: str) -> None:
    words = ("unshare", "--user", "--map-root-user", "sh", "-c", NONE_LEFT, "sh", sys.executable, "-c", SAYS)
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    assert (
        "user namespaces are refused (unshare): No space left on device; user.max_user_namespaces is 0" in done.stdout
    )


def test_a_missing_program_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(door, "_PATH", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DoorError, match="there is no ip on this host; install the package iproute2"):
        open_door(15001, 15053)
    (tmp_path / "ip").symlink_to("/bin/true")
    with pytest.raises(DoorError, match="there is no nft on this host; install the package nftables"):
        open_door(15001, 15053)
    monkeypatch.setattr(
        strict_mode, "trying", lambda: ("/bin/sh", "-c", "echo 'there is no nft; install the package nftables'; exit 1")
    )
    assert why_not_strict() == "there is no nft; install the package nftables", "settings are not to blame"


def test_everything_that_is_not_for_the_namespace_itself_is_led_or_refused() -> None:
    rules = ruleset(15001, 15053)
    lead, refuse = rules.split("chain refuse")
    first = lead.partition("accept;")[2].partition("accept")[0]
    assert "udp dport 53 redirect to :15053" in first, "before loopback is let alone"
    assert "tcp dport 53 redirect to :15053" in first
    assert "meta l4proto tcp redirect to :15001" in lead
    assert "reject with icmpx port-unreachable" in refuse
    assert [links(version).count("local default dev lo table main") for version in (4, 6)] == [1, 1]
    assert links(4).endswith("\n")
    words = relaying(15001, 15053, Path("/secret"), 7, (7001, 7002), (8080,))
    assert words[-7:] == ("relay", "15001", "15053", "/secret", "7", "7001,7002", "8080")
    assert entering(7, ("./shop", "--on"))[-4:] == ("enter", "7", "./shop", "--on")


@pytest.mark.parametrize("_", HERE)
def test_services_of_the_host_answer_for_no_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _: str) -> None:
    ways = tmp_path / "resolve"
    ways.mkdir()
    (ways / "io.systemd.Resolve").touch()
    (ways / "stub-resolv.conf").write_text("nameserver 127.0.0.53\nsearch corp.example\n")
    (tmp_path / "resolv.conf").symlink_to(ways / "stub-resolv.conf")
    monkeypatch.setattr(door, "_OTHER_WAYS", (str(ways), str(tmp_path / "none")))
    monkeypatch.setattr(door, "_RESOLV_CONF", str(tmp_path / "resolv.conf"))
    opened = open_door(15001, 15053)
    try:
        inside = Path(f"/proc/{opened.process}/root{ways}")
        assert {each.name: each.read_text() for each in inside.iterdir()} == {
            "stub-resolv.conf": "nameserver 127.0.0.53\nsearch corp.example\n"
        }
        assert (ways / "io.systemd.Resolve").exists(), "outside all is as it was"
    finally:
        opened.channel.close()
        os.waitpid(opened.process, 0)
