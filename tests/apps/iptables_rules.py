"""Puts rules in force by iptables, twice and then others, for tests: prints them, takes them away, and says so."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import replace

from weft.agent.capture import iptables
from weft.agent.capture.rules import CaptureRules, InboundRules

INBOUND = InboundRules(
    15006,
    (9080,),
    everything=True,
    left=(22, 9090),
    sources=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::1")),
    guard=(0, 5),
    transparent=True,
)
RULES = CaptureRules(
    "default", "shop", 15001, dns=15053, users=(1001,), ports=(22,), interfaces=("lo",), inbound=INBOUND
)


def main() -> None:
    """One after the other."""
    iptables.install(RULES)
    iptables.install(RULES)
    counted = iptables.counted("default", "shop")
    print(iptables.in_force("default", "shop"))
    print(subprocess.run(["ip", "-4", "rule"], capture_output=True, text=True, check=True).stdout)
    assert {each.name for each in counted} >= {"dns", "outbound", "inbound", "local", "dialled", "guard"}
    iptables.install(
        replace(RULES, users=(), inbound=replace(INBOUND, transparent=False, guard=None, everything=False))
    )
    fewer = iptables.in_force("default", "shop")
    assert "TPROXY" not in fewer, fewer
    assert "GUARD" not in fewer, fewer
    assert iptables.uninstall("default", "shop")
    assert not iptables.uninstall("default", "shop")
    print("-- after", flush=True)


main()
