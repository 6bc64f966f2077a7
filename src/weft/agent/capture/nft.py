"""nftables: the rules put in force, read and taken away."""

from __future__ import annotations

import json
import re
from typing import Any

from weft.agent.capture.counted import Counted
from weft.agent.capture.programs import run_program
from weft.agent.capture.routing import remove_route, routed
from weft.agent.capture.rules import CaptureRules, removal, ruleset, table_name
from weft.agent.errors import AgentError

_NO_TABLE = "No such file or directory"
_TRANSPARENT = re.compile(r"tproxy ip to :(\d+)")


def install(rules: CaptureRules) -> None:
    """Put rules in force in place of those there are. AgentError says why nothing has changed."""
    with routed(rules.transparent, lambda: _route_of(in_force(rules.namespace, rules.workload))):
        apply_rules(ruleset(rules))


def uninstall(namespace: str, workload: str) -> bool:
    """Leave nothing of a workload's rules. Whether there were any."""
    found = in_force(namespace, workload)
    if found:
        apply_rules(removal(namespace, workload))
    if before := _route_of(found):
        remove_route(before)
    return bool(found)


def in_force(namespace: str, workload: str) -> str:
    """A workload's rules as nft prints them, with what they counted; empty if there are none."""
    return _listed(table_name(namespace, workload))


def counted(namespace: str, workload: str) -> tuple[Counted, ...]:
    """How often each rule of a workload was met that leads somewhere."""
    text = _listed(table_name(namespace, workload), "-j")
    entries: list[dict[str, Any]] = json.loads(text)["nftables"] if text else []
    rules = [entry["rule"] for entry in entries if "comment" in entry.get("rule", {})]
    counters = [
        (rule["comment"], part["counter"])
        for rule in rules
        for part in rule["expr"]
        if isinstance(part, dict) and "counter" in part
    ]
    return tuple(Counted(name, counter["packets"], counter["bytes"]) for name, counter in counters)


def apply_rules(text: str) -> None:
    """Put a text in force: all of it, or nothing. AgentError says why it was nothing."""
    done = run_program("nft", ("-f", "-"), text)
    if done.returncode != 0:
        raise AgentError(f"nft refuses the rules, and nothing has changed: {done.stderr.strip()}")


def _listed(table: str, *options: str) -> str:
    done = run_program("nft", (*options, "list", "table", "inet", table))
    if done.returncode == 0:
        return done.stdout
    if _NO_TABLE in done.stderr:
        return ""
    raise AgentError(f"nft cannot list its rules: {done.stderr.strip()}")


def _route_of(text: str) -> int:
    found = _TRANSPARENT.search(text)
    return int(found[1]) if found else 0
