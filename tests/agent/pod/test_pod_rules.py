"""The rules of a pod as text: everything but the proxy's own, and what options leave alone."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from weft.agent.capture import iptables
from weft.agent.capture.rules import ruleset
from weft.agent.pod.rules import PodCapture, install_pod_rules, pod_rules
from weft.cli.main import run

USUAL = """\
table inet weft.pod.sidecar {
	chain captured {
		ip daddr { 127.0.0.0/8 } accept
		ip6 daddr { ::1/128 } accept
		meta l4proto tcp counter redirect to :15001 comment "outbound"
	}

	chain output {
		type nat hook output priority -100; policy accept;
		meta skuid != { 1337 } goto captured
	}

	chain inbound {
		tcp dport { 15020, 15021 } accept
		meta l4proto tcp counter redirect to :15006 comment "inbound"
	}

	chain prerouting {
		type nat hook prerouting priority -90; policy accept;
		fib daddr type local goto inbound
	}

	chain local {
		type nat hook output priority -95; policy accept;
		ip daddr { 127.0.0.0/8 } accept
		ip6 daddr { ::1/128 } accept
		tcp dport { 15020, 15021 } accept
		fib daddr type local meta l4proto tcp counter redirect to :15006 comment "local"
	}
"""
ASKED = PodCapture(
    only=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
    only_ports=(6379,),
    addresses=(ipaddress.ip_network("10.9.0.0/16"),),
    ports=(3306,),
    inbound_ports=(8080, 8443),
    interfaces=("net1",),
)


def test_all_connections_but_the_proxys_are_led_and_so_are_all_callers() -> None:
    assert USUAL in ruleset(pod_rules(PodCapture()))


def test_of_some_networks_and_ports_all_that_is_excluded_comes_first() -> None:
    text = ruleset(pod_rules(ASKED))
    captured = text.partition("chain captured")[2].partition("\t}")[0].splitlines()[1:]
    assert [line.strip() for line in captured] == [
        'oifname { "net1" } accept',
        "ip daddr { 10.9.0.0/16, 127.0.0.0/8 } accept",
        "ip6 daddr { ::1/128 } accept",
        "tcp dport { 3306 } accept",
        'ip daddr { 10.0.0.0/8 } meta l4proto tcp counter redirect to :15001 comment "outbound"',
        'ip6 daddr { fd00::/8 } meta l4proto tcp counter redirect to :15001 comment "outbound"',
        'tcp dport { 6379 } meta l4proto tcp counter redirect to :15001 comment "outbound"',
    ]
    assert "tcp dport { 8080, 8443 } counter redirect to :15006" in text
    assert "chain inbound" not in ruleset(pod_rules(PodCapture(inbound=False)))
    assert "chain captured" not in ruleset(pod_rules(PodCapture(outbound=False)))


def test_iptables_says_the_same() -> None:
    text = iptables.restore_text(pod_rules(ASKED), 4)
    for words in (
        "-p tcp -d 10.0.0.0/8 -m comment --comment outbound -j REDIRECT --to-ports 15001",
        "-p tcp --dport 6379 -m comment --comment outbound -j REDIRECT --to-ports 15001",
        "-p tcp --dport 8443 -m comment --comment inbound -j REDIRECT --to-ports 15006",
    ):
        assert words in text
    assert "fd00" not in text
    everything = iptables.restore_text(pod_rules(PodCapture()), 6)
    for words in (
        "-LOCAL -p tcp --dport 15021 -j RETURN",
        "-LOCAL -p tcp -m addrtype --dst-type LOCAL -m comment --comment local -j REDIRECT --to-ports 15006",
        "--uid-owner 1337 -j RETURN",
    ):
        assert words in everything


def test_a_proof_is_a_door_of_loopback_before_all_others() -> None:
    rules = replace(pod_rules(PodCapture()), proof="127.1.2.3")
    proof = ruleset(rules).partition("chain proof {")[2].partition("}")[0].splitlines()
    assert [line.strip() for line in proof] == [
        "",
        "type nat hook output priority -110; policy accept;",
        "ip daddr 127.1.2.3 tcp dport 15001 redirect to :15001",
        "",
    ]
    lines = iptables.restore_text(rules, 4).splitlines()
    called = [line.rpartition("-")[2] for line in lines if line.startswith("-I OUTPUT 1 -j ")]
    assert called[-1] == "PROOF", "what is put first last is the first"
    assert "127.1.2.3" not in iptables.restore_text(rules, 6)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--no-outbound --exclude-outbound-port 1", "--exclude-outbound-port: nothing of that direction is led"),
        ("--no-inbound --include-inbound-port 1", "--include-inbound-port: nothing of that direction is led"),
        ("--include-inbound-port 1 --exclude-inbound-port 2", "give one of the two"),
        ("--include-inbound-port 15020", "15020 is the agent's own port"),
        ("--exclude-outbound-address 10.0.0.1/8", "--exclude-outbound-address: 10.0.0.1/8 has host bits set"),
        ("--exclude-interface a/b", "found 'a/b', expected the name of an interface"),
        ("--exclude-outbound-port 70000", "'70000' is no port"),
    ],
)
def test_options_that_say_two_things_are_refused(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pod", "init", "--dry-run", *words.split()]) == 2
    assert text in " ".join(capsys.readouterr().err.split())


def test_where_neither_program_can_both_reasons_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(program: str, words: tuple[str, ...], text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess((program, *words), 1, "", f"{program} says no")

    for module in ("nft", "iptables", "programs"):
        monkeypatch.setattr(f"weft.agent.capture.{module}.run_program", refused)
    monkeypatch.setattr("weft.agent.capture.firewalls.find_program", lambda name: str(tmp_path / name))
    with pytest.raises(Exception, match=r"(?s)nft says no nor by iptables: .*NET_ADMIN and NET_RAW"):
        install_pod_rules(pod_rules(PodCapture()))
