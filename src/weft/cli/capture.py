"""`weft capture`: the system's rules by which connections are led into a workload's proxy."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import CommandT, command, home_option, namespace_option, output_option
from weft.cli.output import print_value
from weft.cli.states import state_with
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.capture.rules import CaptureRules
    from weft.agent.state import State

_workload_option = click.option(
    "--workload", required=True, metavar="NAME", help="Whose proxy: a workload of this host that is run with --capture."
)


@click.group(cls=Group)
def capture() -> None:
    """Capture: lead connections of chosen users into a workload's proxy, by rules of the system."""


def _selection(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--exclude-interface", "interfaces", multiple=True, metavar="NAME", help="Left alone: what leaves by it."
        ),
        click.option(
            "--exclude-address", "addresses", multiple=True, metavar="IP[/BITS]", help="Left alone: connections to it."
        ),
        click.option(
            "--exclude-port",
            "ports",
            multiple=True,
            type=click.IntRange(1, 65535),
            help="Left alone: connections to it.",
        ),
        click.option(
            "--dns/--no-dns",
            default=None,
            help="Lead DNS (UDP and TCP, port 53) to the workload's responder.  [default: if it has one]",
        ),
        click.option(
            "--cgroup",
            "cgroups",
            multiple=True,
            metavar="PATH",
            help="Whose connections: programs in this cgroup (v2), such as system.slice/shop.service.",
        ),
        click.option(
            "--user",
            "users",
            multiple=True,
            metavar="NAME|UID",
            help="Whose connections: programs of this user; may be given again.",
        ),
    ):
        function = option(function)
    return function


@command(
    "install",
    "weft capture install --workload shop --user shop",
    "weft capture install --workload shop --user 1001 --exclude-port 22 --exclude-address 10.0.0.0/8",
    "weft capture install --workload shop --cgroup system.slice/shop.service --dry-run",
)
@_workload_option
@home_option
@namespace_option
@_selection
@click.option("--dry-run", is_flag=True, help="Print the rules; change nothing.")
@output_option
def install(*, workload: str, home: Home, namespace: str, dry_run: bool, output: str, **given: Any) -> int:
    """Lead the TCP connections of users and cgroups into a workload's proxy. Needs root.

    The rules are a table of their own, weft.NAMESPACE.NAME, which takes the place of an earlier one in one step:
    connections that are made meanwhile meet the old rules or the new ones. Connections that are there already stay as
    they are. What the proxy itself sends is never captured: it has to run as another user or in another cgroup.
    """
    from weft.agent.capture.nft import apply_rules
    from weft.agent.capture.rules import ruleset
    from weft.agent.capture.selection import check_no_loop
    from weft.agent.errors import AgentError
    from weft.agent.state import CapturedBy

    _table(namespace, workload)
    state = state_with("--capture on", _captures, home, namespace, workload)
    if state.captured_by is CapturedBy.SECCOMP:
        raise FailedError(
            f"{namespace}/{workload} is captured without rules, by seccomp; for rules run it with --capture rules"
        )
    try:
        rules = _rules(state, given)
        check_no_loop(rules, state)
        if not dry_run:
            apply_rules(ruleset(rules))
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    _print(rules, output, dry_run)
    return 0


@command("uninstall", "weft capture uninstall --workload shop")
@_workload_option
@namespace_option
@output_option
def uninstall(*, workload: str, namespace: str, output: str) -> int:
    """Take the rules of a workload away. Needs root.

    Nothing of them stays. Connections that were captured go on as they are. Without rules nothing is done.
    """
    from weft.agent.capture.nft import apply_rules, table_in_force
    from weft.agent.capture.rules import removal
    from weft.agent.errors import AgentError

    table = _table(namespace, workload)
    try:
        there = bool(table_in_force(table))
        if there:
            apply_rules(removal(namespace, workload))
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    if output != "table":
        print_value({"table": table, "removed": there}, output)
    else:
        click.echo(f"removed table inet {table}" if there else f"there was no table inet {table}")
    return 0


@command("show", "weft capture show --workload shop", "weft capture show --workload shop -o json")
@_workload_option
@namespace_option
@output_option
def show(*, workload: str, namespace: str, output: str) -> int:
    """Print the rules of a workload that are in force. Needs root. Exit code 1: there are none."""
    from weft.agent.capture.nft import table_in_force
    from weft.agent.errors import AgentError

    table = _table(namespace, workload)
    try:
        found = table_in_force(table)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    if output != "table":
        print_value({"table": table, "inForce": bool(found), "rules": found}, output)
    else:
        click.echo(found.rstrip() or f"there is no table inet {table}: nothing is captured for {namespace}/{workload}")
    return 0 if found else 1


capture.add_command(install)
capture.add_command(uninstall)
capture.add_command(show)


def _table(namespace: str, workload: str) -> str:
    from weft.agent.capture.rules import table_name

    try:
        return table_name(namespace, workload)
    except ValueError as error:
        raise click.UsageError(f"--namespace, --workload: {error}") from None


def _captures(state: State) -> bool:
    return bool(state.capture)


def _rules(state: State, given: dict[str, Any]) -> CaptureRules:
    from weft.agent.capture.rules import CaptureRules
    from weft.agent.capture.selection import cgroup_path, user_id

    if not given["users"] and not given["cgroups"]:
        raise click.UsageError("whose connections? give --user or --cgroup")
    if given["dns"] and not state.dns:
        raise click.UsageError(f"--dns: {state.name} has no responder; run it with --dns on")
    rules = CaptureRules(
        state.namespace,
        state.name,
        state.capture,
        dns=state.dns if given["dns"] is not False else 0,
        users=tuple(sorted({user_id(each) for each in given["users"]})),
        cgroups=tuple(dict.fromkeys(cgroup_path(each) for each in given["cgroups"])),
        ports=tuple(sorted(set(given["ports"]))),
        interfaces=tuple(dict.fromkeys(_interface(each) for each in given["interfaces"])),
    )
    return replace(rules, addresses=tuple(dict.fromkeys(_network(each) for each in given["addresses"])))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise click.UsageError(f"--exclude-address: {error}; expected such as 10.0.0.0/8 or fd00::1") from None


def _interface(text: str) -> str:
    import difflib
    import socket

    known = [name for _, name in socket.if_nameindex()]
    if text in known:
        return text
    near = difflib.get_close_matches(text, known, 1)
    hint = f"do you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise click.UsageError(f"--exclude-interface: this host has no interface '{text}'; {hint}")


def _print(rules: CaptureRules, output: str, dry_run: bool) -> None:
    from weft.agent.capture.rules import ruleset

    if output != "table":
        told = {
            "table": rules.table,
            "inForce": not dry_run,
            "port": rules.port,
            "dns": rules.dns,
            "users": list(rules.users),
            "cgroups": list(rules.cgroups),
            "excluded": {
                "ports": list(rules.ports),
                "addresses": list(map(str, rules.addresses)),
                "interfaces": list(rules.interfaces),
            },
            "rules": ruleset(rules),
        }
        print_value(told, output)
    elif dry_run:
        click.echo(ruleset(rules).rstrip())
    else:
        who = [*[f"user {each}" for each in rules.users], *[f"cgroup {each}" for each in rules.cgroups]]
        names = f", and DNS to {rules.dns}" if rules.dns else ""
        click.echo(f"connections of {', '.join(who)} are led to port {rules.port} of loopback{names}")
