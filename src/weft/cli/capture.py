"""`weft capture`: the system's rules by which connections are led into a workload's proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.capture_options import rules_options
from weft.cli.complete import complete_own
from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_value
from weft.cli.states import state_with
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.capture.firewalls import Firewall
    from weft.agent.capture.rules import CaptureRules
    from weft.agent.state import State

_workload_option = click.option(
    "--workload",
    required=True,
    metavar="NAME",
    shell_complete=complete_own,
    help="Whose proxy: a workload of this host that is run with --capture or --inbound-capture.",
)


@click.group(cls=Group)
def capture() -> None:
    """Capture: lead connections of chosen users, and of callers, into a workload's proxy, by rules of the system."""


@command(
    "install",
    "weft capture install --workload shop --user shop",
    "weft capture install --workload shop --user 1001 --exclude-port 22 --exclude-address 10.0.0.0/8",
    "weft capture install --workload shop --inbound all --exclude-inbound-port 9100 --persist",
    "weft capture install --workload shop --cgroup system.slice/shop.service --dry-run",
)
@_workload_option
@home_option
@namespace_option
@rules_options
@click.option("--persist", is_flag=True, help="And at each start of the system, by a unit of systemd.")
@click.option("--dry-run", is_flag=True, help="Print the rules; change nothing.")
@output_option
def install(
    *,
    workload: str,
    home: Home,
    namespace: str,
    firewall: str | None,
    persist: bool,
    dry_run: bool,
    output: str,
    **given: Any,
) -> int:
    """Lead the TCP connections of users and cgroups, and of callers, into a workload's proxy. Needs root.

    The rules take the place of earlier ones in one step: connections that are made meanwhile meet the old rules or the
    new ones. Connections that are there already stay as they are. What the proxy itself sends is never captured: it has
    to run as another user or in another cgroup. With nft they are a table of their own, weft.NAMESPACE.NAME.
    """
    from weft.agent.capture.firewalls import check_only, chosen_firewall
    from weft.agent.capture.selection import check_no_loop
    from weft.agent.capture.unit import check_systemd, is_kept, unit_files
    from weft.agent.capture.unit import persist as keep
    from weft.agent.errors import AgentError
    from weft.cli.capture_options import rules_of

    _table(namespace, workload)
    state = state_with("--capture on", _captures, home, namespace, workload)
    if state.captured_by.with_secret and any(given[each] for each in ("users", "cgroups", "others")):
        raise FailedError(
            f"{namespace}/{workload} is captured without rules, by {state.captured_by}; "
            "for rules run it with --capture rules"
        )
    try:
        chosen = chosen_firewall(firewall or "")
        rules = rules_of(state, given)
        check_no_loop(rules, state)
        files = unit_files(rules, chosen) if persist else {}
        if persist and not dry_run:
            check_systemd()
        if not dry_run:
            check_only(chosen, namespace, workload)
            chosen.install(rules)
            if persist:
                keep(rules, chosen)
            elif is_kept(namespace, workload):
                click.echo("the unit has earlier rules, for the next start of the system; give --persist", err=True)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    _print(rules, chosen, {str(path): text for path, text in files.items()}, output, dry_run)
    return 0


@command("uninstall", "weft capture uninstall --workload shop")
@_workload_option
@namespace_option
@output_option
def uninstall(*, workload: str, namespace: str, output: str) -> int:
    """Take the rules of a workload away, and the unit that keeps them. Needs root.

    Nothing of them stays. Connections that were captured go on as they are. Without rules nothing is done.
    """
    from weft.agent.capture.firewalls import firewalls_there
    from weft.agent.capture.unit import forget
    from weft.agent.errors import AgentError

    table = _table(namespace, workload)
    try:
        removed = [each.name for each in firewalls_there() if each.uninstall(namespace, workload)]
        kept = forget(namespace, workload)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    if output != "table":
        print_value({"table": table, "removed": bool(removed), "firewalls": removed, "unit": kept}, output)
        return 0
    for name in removed:
        click.echo(f"removed table inet {table}" if name == "nft" else f"removed the chains of {namespace}/{workload}")
    if kept:
        click.echo("removed the unit that kept them")
    if not removed and not kept:
        click.echo(f"there was no table inet {table}")
    return 0


@command("show", "weft capture show --workload shop", "weft capture show --workload shop -o json")
@_workload_option
@namespace_option
@output_option
def show(*, workload: str, namespace: str, output: str) -> int:
    """Print the rules of a workload that are in force, and what they counted. Needs root.

    Exit code 1: there are none.
    """
    from weft.agent.capture.counted import summed
    from weft.agent.capture.firewalls import firewalls_there
    from weft.agent.errors import AgentError

    table = _table(namespace, workload)
    try:
        found = {each.name: each.in_force(namespace, workload) for each in firewalls_there()}
        counted = [one for each in firewalls_there() for one in each.counted(namespace, workload)]
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    by = [name for name, text in found.items() if text]
    rules = "\n".join([found[name].rstrip() for name in by])
    if output != "table":
        told = {"table": table, "inForce": bool(by), "firewalls": by, "counted": summed(counted), "rules": rules}
        print_value(told, output)
    else:
        click.echo(rules or f"there is no table inet {table}: nothing is captured for {namespace}/{workload}")
    return 0 if by else 1


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
    return bool(state.capture or state.inbound_capture)


def _print(rules: CaptureRules, firewall: Firewall, files: dict[str, str], output: str, dry_run: bool) -> None:
    texts = firewall.texts(rules)
    if output != "table":
        told = {
            "table": rules.table,
            "firewall": firewall.name,
            "inForce": not dry_run,
            "port": rules.port,
            "dns": rules.dns,
            "users": list(rules.users),
            "cgroups": list(rules.cgroups),
            "allUsersBut": None if rules.others is None else list(rules.others),
            "excluded": {
                "ports": list(rules.ports),
                "addresses": list(map(str, rules.addresses)),
                "interfaces": list(rules.interfaces),
            },
            "inbound": _inbound(rules),
            "rules": "".join(texts.values()),
            "files": files,
        }
        print_value(told, output)
    elif dry_run:
        shown = files or {name: text for name, text in texts.items() if len(texts) > 1}
        for name, text in shown.items():
            click.echo(f"# {name}\n{text.rstrip()}")
        if not shown:
            click.echo("".join(texts.values()).rstrip())
    else:
        _say(rules)


def _inbound(rules: CaptureRules) -> dict[str, object] | None:
    found = rules.inbound
    if found is None:
        return None
    return {
        "port": found.port,
        "ports": list(found.ports),
        "everything": found.everything,
        "transparent": found.transparent,
        "excluded": {"ports": list(found.left), "sources": list(map(str, found.sources))},
        "guard": None if found.guard is None else list(found.guard),
    }


def _say(rules: CaptureRules) -> None:
    who = [*[f"user {each}" for each in rules.users], *[f"cgroup {each}" for each in rules.cgroups]]
    if rules.others:
        who.append(f"all users but {', '.join(map(str, rules.others))}")
    if who:
        names = f", and DNS to {rules.dns}" if rules.dns else ""
        click.echo(f"connections of {', '.join(who)} are led to port {rules.port} of loopback{names}")
    if rules.inbound is not None:
        what = "every port" if rules.inbound.everything else f"port {', '.join(map(str, rules.inbound.ports))}"
        click.echo(f"connections of callers to {what} are led to port {rules.inbound.port}")
