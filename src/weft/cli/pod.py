"""`weft pod`: what containers of a pod of Kubernetes run, which `weft serve` adds to it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import PortNumber, command, network

if TYPE_CHECKING:
    from weft.agent.parameters import PortParameter
    from weft.agent.pod.rules import PodCapture
    from weft.model.labels import Labels

_Port = PortNumber()
_PROOF = re.compile(r"127(\.\d{1,3}){3}")
_QUIET_SECONDS = 3.0
_INTERFACE = re.compile(r"[A-Za-z0-9._:@-]{1,15}")
_OUTBOUND = {
    "only": "--include-outbound-address",
    "only_ports": "--include-outbound-port",
    "addresses": "--exclude-outbound-address",
    "ports": "--exclude-outbound-port",
}
_NETWORKS = ("only", "addresses")
_INBOUND = {"inbound_ports": "--include-inbound-port", "left": "--exclude-inbound-port"}


@click.group(cls=Group)
def pod() -> None:
    """Run in the containers of a pod: lead its connections into a proxy, and be that proxy."""


@command(
    "init",
    "weft pod init",
    "weft pod init --exclude-outbound-address 169.254.169.254 --exclude-outbound-port 3306 --exclude-inbound-port 9100",
    "weft pod init --include-outbound-address 10.96.0.0/12 --no-inbound",
)
@click.option(
    "--user",
    type=click.IntRange(1, 2**32 - 2),
    default=1337,
    show_default=True,
    metavar="UID",
    help="User of the proxy, whose connections are never led.",
)
@click.option(
    "--include-outbound-address",
    "only",
    multiple=True,
    metavar="IP[/BITS]",
    help="Lead connections to it, and no others; may be given again.  [default: all]",
)
@click.option(
    "--include-outbound-port",
    "only_ports",
    multiple=True,
    type=_Port,
    help="Lead connections to it as well, whatever --include-outbound-address says.",
)
@click.option(
    "--exclude-outbound-address", "addresses", multiple=True, metavar="IP[/BITS]", help="Left alone: connections to it."
)
@click.option("--exclude-outbound-port", "ports", multiple=True, type=_Port, help="Left alone: connections to it.")
@click.option("--no-outbound", is_flag=True, help="Lead no connections of the pod's containers.")
@click.option(
    "--include-inbound-port",
    "inbound_ports",
    multiple=True,
    type=_Port,
    help="Lead callers of it, and no others; may be given again.  [default: all]",
)
@click.option(
    "--exclude-inbound-port",
    "left",
    multiple=True,
    type=_Port,
    help="Left alone: callers of it. 15020 and 15021, the agent's own, always are.",
)
@click.option("--no-inbound", is_flag=True, help="Lead no callers.")
@click.option(
    "--exclude-interface",
    "interfaces",
    multiple=True,
    metavar="NAME",
    help="Left alone: what leaves or comes by it, whether or not it is there yet.",
)
@click.option("--dry-run", is_flag=True, help="Print the rules; change nothing.")
def init(*, dry_run: bool, **given: Any) -> int:
    """Lead the connections of a pod's containers, and of their callers, into its proxy: for an init container.

    It needs root with the capabilities NET_ADMIN and NET_RAW, and nothing else. The rules are nftables', or those of
    iptables where nft cannot; they are replaced in one step when it runs again. TCP connections of every user but the
    proxy's are led to port 15001, and those of callers to port 15006. Loopback is never captured.
    """
    from weft.agent.errors import AgentError
    from weft.agent.pod.rules import install_pod_rules, pod_rules

    asked = _asked(**given)
    rules = pod_rules(asked)
    try:
        if dry_run:
            from weft.agent.capture.firewalls import chosen_firewall

            click.echo("".join(chosen_firewall("").texts(rules).values()).rstrip())
            return 0
        firewall = install_pod_rules(rules)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    who = f"connections of all users but {asked.user} are led to port {rules.port}" if asked.outbound else ""
    callers = f"those of callers to port {rules.inbound.port}" if rules.inbound is not None else ""
    click.echo(f"{', '.join(filter(None, (who, callers))) or 'nothing is led anywhere'}, by {firewall}")
    return 0


@command("verify", "weft pod verify 127.93.4.21", "weft pod verify 127.93.4.21 --timeout 10")
@click.argument("address")
@click.option(
    "--timeout", type=click.FloatRange(0, 3600), default=120.0, show_default=True, help="Seconds to wait at most."
)
def verify(address: str, timeout: float) -> int:
    """Wait until the node has captured this pod: for an init container, before all others.

    ADDRESS is of loopback, and stands for the rules that the pod wants: only where they are in force somebody answers
    there. It needs no right. Exit code 1: the pod is not captured in time, and must not run.
    """
    import asyncio

    from weft.agent.pod.proof import wait_captured

    if not _PROOF.fullmatch(address):
        raise click.UsageError(f"ADDRESS: found '{address}', expected one of 127.0.0.0/8, as the injector writes it")
    node = os.environ.get("NODE_NAME", "this node")
    captured = asyncio.run(wait_captured(address, min(timeout, _QUIET_SECONDS)))
    if not captured and timeout > _QUIET_SECONDS:
        click.echo(f"waiting until the node agent of weft on {node} has captured this pod")
        captured = asyncio.run(wait_captured(address, timeout - _QUIET_SECONDS))
    if not captured:
        raise FailedError(
            f"the connections of this pod are not captured: the node agent of weft on {node} has not done it. Look at "
            "it, and at its log: kubectl get pods -A -o wide -l app.kubernetes.io/component=cni; the pod goes on by "
            "itself when that is mended"
        )
    click.echo("the connections of the pod are captured, by the agent of its node")
    return 0


def capture_from_words(words: tuple[str, ...]) -> PodCapture:
    """What options of ``weft pod init`` ask for. AgentError if they cannot be."""
    from weft.agent.errors import EXIT_USAGE, AgentError

    try:
        given = init.make_context("weft pod init", list(words)).params
        given.pop("dry_run")
        return _asked(**given)
    except (click.UsageError, click.exceptions.Exit) as error:
        told = error.format_message() if isinstance(error, click.UsageError) else "no help is given here"
        raise AgentError(f"options of capture cannot be: {told}", EXIT_USAGE) from error


def _asked(*, user: int, no_outbound: bool, no_inbound: bool, interfaces: tuple[str, ...], **given: Any) -> PodCapture:
    from weft.agent.pod.rules import OWN_PORTS, PodCapture

    for flag, isset, others in (("--no-outbound", no_outbound, _OUTBOUND), ("--no-inbound", no_inbound, _INBOUND)):
        for key, option in others.items():
            if isset and given[key]:
                raise click.UsageError(f"{option}: nothing of that direction is led, says {flag}; give one of them")
    if given["inbound_ports"] and given["left"]:
        raise click.UsageError(
            "--exclude-inbound-port: only those of --include-inbound-port are led; give one of the two"
        )
    if own := next((port for port in given["inbound_ports"] if port in OWN_PORTS), 0):
        raise click.UsageError(f"--include-inbound-port: {own} is the agent's own port, which is never led")
    for name in interfaces:
        if not _INTERFACE.fullmatch(name):
            raise click.UsageError(f"--exclude-interface: found '{name}', expected the name of an interface")
    networks = {key: tuple(dict.fromkeys(network(_OUTBOUND[key], each) for each in given[key])) for key in _NETWORKS}
    ports = {key: tuple(sorted(set(given[key]))) for key in ("only_ports", "ports", "inbound_ports", "left")}
    return PodCapture(
        user=user,
        outbound=not no_outbound,
        only=networks["only"] or None,
        addresses=networks["addresses"],
        inbound=not no_inbound,
        interfaces=tuple(dict.fromkeys(interfaces)),
        **ports,
    )


@command(
    "proxy",
    "weft pod proxy",
    "weft pod proxy --labels app=web --port http=8080",
)
@click.option(
    "--labels",
    multiple=True,
    metavar="KEY=VALUE[,...]",
    help="Labels of the pod, for a control plane that has them from no API server.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="[NAME=]PORT[:PORT]",
    help="A port of the pod's applications, for such a control plane; :PORT is where they listen, if that differs.",
)
def proxy(*, labels: tuple[str, ...], ports: tuple[str, ...]) -> int:
    """Be the proxy of a pod: agent and Envoy, in a container of their own.

    The environment says all that the injector knows: POD_NAME, POD_NAMESPACE, POD_IP, POD_SERVICE_ACCOUNT, WEFT_SERVER,
    WEFT_CA_FINGERPRINT, WEFT_HOME, WEFT_TOKEN_FILE, and WEFT_POD_PROBES, WEFT_DRAIN_SECONDS and WEFT_GRACE_SECONDS if
    there is something to say (docs/kubernetes.md). On SIGTERM callers are sent elsewhere, requests finish, and the exit
    code is 0.
    """
    from weft.agent.errors import AgentError
    from weft.agent.pod.environment import pod_parameters
    from weft.cli.agents import run_agent

    try:
        asked = replace(pod_parameters(os.environ), labels=_labels(labels), ports=tuple(map(_port, ports)))
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    os.environ.setdefault("TMPDIR", os.environ["WEFT_HOME"])  # nothing else may be written to
    return run_agent(asked)


@command("wait", "weft pod wait", "weft pod wait --timeout 120")
@click.option(
    "--timeout", type=click.FloatRange(0, 3600), default=60.0, show_default=True, help="Seconds to wait at most."
)
def wait(timeout: float) -> int:
    """Wait until the proxy of the pod is ready: for a container that must not begin before.

    It asks the agent at POD_IP. Exit code 1: it was not ready in time.
    """
    import asyncio

    from weft.agent.errors import AgentError
    from weft.agent.pod.environment import pod_address
    from weft.agent.pod.waiting import wait_ready

    try:
        why = asyncio.run(wait_ready(pod_address(os.environ), timeout))
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    if why:
        raise FailedError(f"the proxy was not ready after {timeout:g} s: {why}")
    return 0


def _labels(texts: tuple[str, ...]) -> Labels:
    from weft.local.option_syntax import OptionValueError, parse_labels

    try:
        return parse_labels(texts)
    except OptionValueError as error:
        raise click.UsageError(f"--labels: {error}") from error


def _port(text: str) -> PortParameter:
    from weft.local.option_syntax import OptionValueError, parse_port

    try:
        found = parse_port(text)
    except OptionValueError as error:
        raise click.UsageError(f"--port: {error}") from error
    if found.application == 0:
        raise click.UsageError(f"--port: found '{text}', expected a port: nothing in a pod is told of another one")
    return found


pod.add_command(init)
pod.add_command(proxy)
pod.add_command(wait)
pod.add_command(verify)
