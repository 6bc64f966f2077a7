"""`weft token create`."""

from __future__ import annotations

import json

import click

from weft.cli.group import Group
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_value
from weft.settings.home import Home


@click.group(cls=Group)
def token() -> None:
    """Join tokens for workloads on other hosts."""


@command(
    "create", "weft token create --service-account reviews", "weft token create -n shop --service-account cart -o json"
)
@home_option
@namespace_option
@click.option("--service-account", required=True, help="The service account that the token is for.")
@click.option(
    "--ttl", type=click.FloatRange(1, 30 * 86400), default=600.0, show_default=True, help="Seconds it is valid."
)
@output_option
def create(home: Home, namespace: str, service_account: str, ttl: float, output: str) -> int:
    """Create a join token.

    It works once: for one workload of the service account, from any host, until it expires.
    """
    from weft.local.client import AdminClient  # noqa: PLC0415

    body = json.dumps({"namespace": namespace, "service_account": service_account, "ttl": ttl}).encode()
    found = AdminClient(home).call("POST", "tokens", {}, body=body, headers={"content-type": "application/json"})
    if output != "table":
        print_value(found, output)
        return 0
    click.echo(
        f"WEFT_TOKEN={found['token']} \\\n"
        f"weft run --control-plane {found['agent_api']} \\\n"
        f"  --ca-fingerprint {found['fingerprint']} \\\n"
        f"  --namespace {namespace} --service-account {service_account} --name NAME --port PORT -- COMMAND"
    )
    click.echo(f"(valid once, for {ttl:g} s)", err=True)
    if str(found["agent_api"]).startswith(("127.", "[::1]", "localhost")):
        hint = "other hosts cannot reach that address: start the control plane with weft serve --bind, and --advertise"
        click.echo(hint, err=True)
    return 0


token.add_command(create)
