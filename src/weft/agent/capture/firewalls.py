"""By which program of the system rules are put in force: nft where it is, else iptables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weft.agent.capture import iptables, nft
from weft.agent.capture.counted import Counted
from weft.agent.capture.programs import find_program
from weft.agent.capture.rules import CaptureRules, ruleset
from weft.agent.errors import AgentError


@dataclass(frozen=True, slots=True)
class Firewall:
    """A program of rules: puts them in force (all or nothing), takes them away (whether there were any), tells what is
    in force and what that counted; and as texts, by file name, for whoever wants to read them."""

    name: str
    program: str
    install: Callable[[CaptureRules], None]
    uninstall: Callable[[str, str], bool]
    in_force: Callable[[str, str], str]
    counted: Callable[[str, str], tuple[Counted, ...]]
    texts: Callable[[CaptureRules], dict[str, str]]

    @property
    def there(self) -> bool:
        """Whether this host has it."""
        return find_program(self.program) is not None


def _iptables_texts(rules: CaptureRules) -> dict[str, str]:
    return {"v4": iptables.restore_text(rules, 4), "v6": iptables.restore_text(rules, 6)}


NFT = Firewall(
    "nft", "nft", nft.install, nft.uninstall, nft.in_force, nft.counted, lambda rules: {"nft": ruleset(rules)}
)
IPTABLES = Firewall(
    "iptables",
    "iptables-restore",
    iptables.install,
    iptables.uninstall,
    iptables.in_force,
    iptables.counted,
    _iptables_texts,
)
FIREWALLS = (NFT, IPTABLES)


def chosen_firewall(name: str) -> Firewall:
    """That of the name; with an empty one the first that this host has."""
    if name:
        return next(each for each in FIREWALLS if each.name == name)
    return next((each for each in FIREWALLS if each.there), NFT)


def check_only(firewall: Firewall, namespace: str, workload: str) -> None:
    """AgentError where a workload has rules by another program."""
    for other in FIREWALLS:
        if other is not firewall and other.there and other.in_force(namespace, workload):
            raise AgentError(
                f"rules of {namespace}/{workload} are in force by {other.name} already, and connections would meet "
                "both; `weft capture uninstall` first"
            )


def firewalls_there() -> tuple[Firewall, ...]:
    """Those of this host. AgentError if it has none."""
    found = tuple(each for each in FIREWALLS if each.there)
    if not found:
        raise AgentError("there is neither nft nor iptables on this host; install the package nftables")
    return found
