"""`weft identity`: who has certificates, and the end of trust in them."""

from __future__ import annotations

import json
from typing import Any

import click

from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option, wait_options
from weft.cli.output import print_table, print_value
from weft.settings.home import Home

_HEADERS = ("NAMESPACE", "SERVICE ACCOUNT", "WORKLOAD", "STATE", "SERIAL", "ISSUED", "UNTIL", "REVOKED BY", "REASON")


@click.group(cls=Group)
def identity() -> None:
    """Identities: who has certificates, and whom the mesh refuses."""


@command("list", "weft identity list", "weft identity list -o json")
@home_option
@output_option
def list_(home: Home, output: str) -> int:
    """List identities, with the latest certificate of each workload.

    STATE is active, lapsed (no longer registered, or the certificate has expired), removed, or revoked.
    """
    from weft.local.client import AdminClient

    found = AdminClient(home).get("identities")["identities"]
    if output != "table":
        print_value(found, output)
        return 0
    print_table(_HEADERS, [_row(one) for one in found], empty="no identities")
    return 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    members = ("namespace", "service_account", "workload", "state", "serial", "issued", "until", "by", "reason")
    texts = [str(one[name] or "-") for name in members]
    return (*texts[:4], texts[4][:16], *texts[5:])


def _whose(target: str | None, service_account: str | None) -> dict[str, str]:
    """``NAMESPACE/NAME`` of a workload or a service account, as the API takes it."""
    if bool(target) == bool(service_account):
        raise click.UsageError("give NAMESPACE/WORKLOAD, or --service-account NAMESPACE/NAME")
    namespace, slash, name = str(target or service_account).partition("/")
    if not slash:
        namespace, name = "default", namespace
    return {"namespace": namespace, "workload" if target else "service_account": name}


_target = click.argument("target", required=False, metavar="[NAMESPACE/WORKLOAD]")
_account = click.option(
    "--service-account", metavar="NAMESPACE/NAME", help="All workloads of this service account, also those to come."
)
_reason = click.option("--reason", default="", help="Why, for the audit and for `weft identity list`.")


@command(
    "revoke",
    "weft identity revoke shop/cart-vm7 --reason 'laptop stolen' --wait",
    "weft identity revoke --service-account shop/cart --wait",
)
@_target
@_account
@_reason
@home_option
@wait_options
@output_option
def revoke(
    *,
    target: str | None,
    service_account: str | None,
    reason: str,
    home: Home,
    wait: bool,
    timeout: float,
    output: str,
) -> int:
    """Refuse an identity everywhere, at once.

    Its endpoints leave, its proxy's stream ends, and it gets no certificate until it is restored. Inbound ports refuse
    its requests and connections, callers refuse its certificate; connections that are open end within 45 seconds. Those
    of others at the same ports are closed in order, too: clients connect again.
    """
    return _change(home, "revoke", {**_whose(target, service_account), "reason": reason}, wait, timeout, output)


@command("restore", "weft identity restore shop/cart-vm7", "weft identity restore --service-account shop/cart")
@_target
@_account
@_reason
@home_option
@wait_options
@output_option
def restore(
    *,
    target: str | None,
    service_account: str | None,
    reason: str,
    home: Home,
    wait: bool,
    timeout: float,
    output: str,
) -> int:
    """Let a revoked identity come back.

    It proves itself anew: on another host by a join token made from now on. Its certificates of before stay refused.
    """
    return _change(home, "restore", {**_whose(target, service_account), "reason": reason}, wait, timeout, output)


def _change(home: Home, what: str, body: dict[str, str], wait: bool, timeout: float, output: str) -> int:
    from weft.local.client import AdminClient

    left = timeout if wait else None
    answer = AdminClient(home).call(
        "POST",
        f"identities/{what}",
        {"wait": left},
        body=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        wait=left,
    )
    return report_end(answer, output)


def report_end(answer: dict[str, Any], output: str) -> int:
    """Print what became of an identity, and who has confirmed it; the exit code."""
    from weft.cli.changes import report_answers

    if output != "table":
        print_value(answer, output)
    else:
        one = answer["identity"]
        what = f"workload {one['namespace']}/{one['workload']}" if "workload" in one else ""
        what = what or f"service account {one['namespace']}/{one['service_account']}"
        click.echo(f"{what} {'is' if answer['changed'] else 'is already'} {one['state']}")
        for key in answer["workloads"]:
            click.echo(f"  {key} is out of the mesh")
    return report_answers([answer])


identity.add_command(list_)
identity.add_command(revoke)
identity.add_command(restore)
