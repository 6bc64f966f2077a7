"""The capture rules of a pod: whatever its containers connect to, and whoever connects to them, meets the proxy."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from weft.agent.capture.firewalls import firewalls_there
from weft.agent.capture.rules import CaptureRules, InboundRules, Networks
from weft.agent.errors import AgentError
from weft.agent.pod.ports import CAPTURE, INBOUND_CAPTURE, METRICS, READINESS

PROXY_USER = 1337
"""As whom the proxy runs if nobody says otherwise: Istio's number, so that what is written for it fits."""
OWN_PORTS = (METRICS, READINESS)
"""Ports at which the agent itself is asked, in plaintext: never captured."""
_TABLE = ("pod", "sidecar")


@dataclass(frozen=True, slots=True)
class PodCapture:
    """What of a pod's connections is captured; `user` is the proxy's uid.

    Outbound: all connections, or (`only`) those to these networks and to `only_ports`, but those to `ports` and
    `addresses`. Inbound: those to all ports, or to `inbound_ports`, but to `left`. Nothing by one of `interfaces`.
    """

    user: int = PROXY_USER
    outbound: bool = True
    only: Networks | None = None
    only_ports: tuple[int, ...] = ()
    addresses: Networks = ()
    ports: tuple[int, ...] = ()
    inbound: bool = True
    inbound_ports: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    interfaces: tuple[str, ...] = ()


def pod_rules(asked: PodCapture) -> CaptureRules:
    """The rules that `asked` means."""
    return CaptureRules(
        *_TABLE,
        CAPTURE,
        others=(asked.user,) if asked.outbound else None,
        ports=asked.ports,
        addresses=asked.addresses,
        interfaces=asked.interfaces,
        only=asked.only,
        only_ports=asked.only_ports,
        inbound=_inbound(asked) if asked.inbound else None,
    )


def _inbound(asked: PodCapture) -> InboundRules:
    if asked.inbound_ports:
        return InboundRules(INBOUND_CAPTURE, asked.inbound_ports)
    left = tuple(sorted({*OWN_PORTS, *asked.left}))
    return InboundRules(INBOUND_CAPTURE, (), everything=True, left=left)


def install_pod_rules(rules: CaptureRules) -> str:
    """Put the rules in force in place of those that an earlier run has left, by nft or, where that cannot, by iptables:
    a node's kernel may be able to do one of both only. Returns by which. AgentError says why by neither."""
    there = firewalls_there()
    refused = []
    for firewall in there:
        try:
            firewall.install(rules)
        except AgentError as error:
            refused.append(f"{firewall.name}: {error}")
            continue
        for other in there:
            if other is not firewall:
                with contextlib.suppress(AgentError):  # it cannot even list its rules: there are none
                    other.uninstall(*_TABLE)
        return firewall.name
    raise AgentError(
        f"the rules of the pod cannot be installed, by {' nor by '.join(refused)}; `weft pod init` needs root with the "
        "capabilities NET_ADMIN and NET_RAW"
    )


def pod_rules_in_force() -> str:
    """The rules of this network namespace, as the firewall prints them that has them; empty if there are none.
    AgentError."""
    return "".join(each.in_force(*_TABLE) for each in firewalls_there())


def uninstall_pod_rules() -> None:
    """Leave nothing of them. AgentError."""
    for each in firewalls_there():
        each.uninstall(*_TABLE)
