"""`weft token`: join tokens for workloads on other hosts."""

from __future__ import annotations

import json

import click

from weft.cli.group import Group
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home


@click.group(cls=Group)
def token() -> None:
    """Join tokens for workloads on other hosts."""


@command(
    "create",
    "weft token create --service-account reviews",
    "weft token create --service-account reviews --name reviews-vm1 --labels app=reviews --port 9080 -- ./reviews",
    "weft token create --gateway public --bind 10.0.0.7 --systemd",
    context_settings={"allow_interspersed_args": False},
)
@home_option
@namespace_option
@click.option("--service-account", default="", help="The service account that the token is for.")
@click.option("--gateway", default="", metavar="NAME", help="For the proxy of this Gateway, and its service account.")
@click.option(
    "--ttl", type=click.FloatRange(1, 30 * 86400), default=600.0, show_default=True, help="Seconds it is valid."
)
@click.option("--name", default="", help="Name of the instance, for the printed command.")
@click.option("--labels", multiple=True, metavar="KEY=VALUE[,...]", help="Its labels, for the printed command.")
@click.option("--port", "ports", multiple=True, metavar="PORT", help="A port as `weft run` takes it.")
@click.option("--bind", default="", metavar="IP", help="With --gateway: the address that its listeners bind.")
@click.option("--systemd", is_flag=True, help="Print a script that sets up a systemd unit, for root on the other host.")
@output_option
@click.argument("application", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
def create(
    *,
    home: Home,
    namespace: str,
    service_account: str,
    gateway: str,
    ttl: float,
    name: str,
    labels: tuple[str, ...],
    ports: tuple[str, ...],
    bind: str,
    systemd: bool,
    output: str,
    application: tuple[str, ...],
) -> int:
    """Create a join token, and print the command for the other host.

    It works once: for one workload of the service account, from any host, until it expires.
    """
    from weft.local.client import AdminClient
    from weft.local.join import Invitation, Joining, join_command, systemd_script

    _check_options(service_account, gateway, bool(name or labels or ports or application), bind)
    account = service_account or gateway
    joining = Joining(namespace, account, name or gateway, labels, ports, application, bool(gateway), bind)
    if systemd and set(joining.open_fields) & {"NAME", "IP"}:
        raise click.UsageError("--systemd needs --name (with --gateway: --bind)")
    body = json.dumps({"namespace": namespace, "service_account": account, "ttl": ttl}).encode()
    found = AdminClient(home).call("POST", "tokens", {}, body=body, headers={"content-type": "application/json"})
    invitation = Invitation(found["agent_api"], found["fingerprint"], found["token"])
    text = (systemd_script if systemd else join_command)(joining, invitation)
    if output != "table":
        print_value({**found, "command": text}, output)
        return 0
    click.echo(text)
    _say_about(found, ttl, () if systemd else joining.open_fields)
    return 0


def _check_options(service_account: str, gateway: str, has_workload: bool, bind: str) -> None:
    if not service_account and not gateway:
        raise click.UsageError("give --service-account NAME, or --gateway NAME")
    if gateway and (has_workload or service_account not in ("", gateway)):
        raise click.UsageError("a gateway has its own name, service account and ports: only --bind goes with --gateway")
    if bind and not gateway:
        raise click.UsageError("--bind goes with --gateway")


def _say_about(found: dict[str, str], ttl: float, missing: tuple[str, ...]) -> None:
    from weft.model.addresses import is_loopback

    click.echo(f"(token {found['id']}: valid once, for {ttl:g} s)", err=True)
    if missing:
        click.echo(f"put in {', '.join(missing)}; given here as options, they are printed", err=True)
    if is_loopback(found["agent_api"].rpartition(":")[0]):
        click.echo(
            "other hosts cannot reach that address: start the control plane with weft serve --bind ADDRESS (in "
            "weft.yaml: bind), an address of this host that they reach",
            err=True,
        )


@command("list", "weft token list", "weft token list -o json")
@home_option
@output_option
def list_(home: Home, output: str) -> int:
    """List join tokens: what each is for, and whether it is still valid. The tokens themselves are not kept."""
    from weft.local.client import AdminClient

    found = AdminClient(home).get("tokens")["tokens"]
    if output != "table":
        print_value(found, output)
        return 0
    rows = [
        (
            one["id"],
            one["namespace"],
            one["service_account"],
            one["state"],
            one["created"],
            one["expires"],
        )
        for one in found
    ]
    print_table(("ID", "NAMESPACE", "SERVICE ACCOUNT", "STATE", "CREATED", "EXPIRES"), rows, empty="no tokens")
    return 0


@command("revoke", "weft token revoke 3f1c9a0b2d4e", "weft token revoke 3f1c9a0b2d4e -o json")
@home_option
@output_option
@click.argument("token_id", metavar="ID")
def revoke(home: Home, output: str, token_id: str) -> int:
    """Revoke a join token that has not been used. ID is as `weft token list` shows it."""
    from urllib.parse import quote

    from weft.local.client import AdminClient

    found = AdminClient(home).call("DELETE", f"tokens/{quote(token_id, safe='')}", {})["revoked"]
    if output != "table":
        print_value(found, output)
        return 0
    click.echo(f"token {found['id']} for {found['namespace']}/{found['service_account']} is revoked")
    return 0


token.add_command(create)
token.add_command(list_)
token.add_command(revoke)
