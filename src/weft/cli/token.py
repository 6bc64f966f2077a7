"""`weft token`: join tokens for workloads on other hosts, and tokens of people and programs."""

from __future__ import annotations

import json
from typing import Any

import click

from weft.cli.complete import complete_token
from weft.cli.demands import demand_options, demands, group_of
from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_value
from weft.cli.principals import ROLES, create_principal, is_join_token, life, list_all, print_self, revoke_principal
from weft.settings.home import Home


@click.group(cls=Group)
def token() -> None:
    """Tokens: for workloads on other hosts to join, for people and programs to call.

    A token for a workload works once; one with a role is a principal of the admin API.
    """


@command(
    "create",
    "weft token create --service-account reviews",
    "weft token create --service-account reviews --name reviews-vm1 --labels app=reviews --port 9080 -- ./reviews",
    "weft token create --gateway public --bind 10.0.0.7 --systemd",
    "weft token create --group web --service-account web --uses 50 --ttl 86400 --from 10.0.0.0/8",
    "weft token create --service-account cart --from 10.0.0.0/8 --key tpm-public.pem",
    "weft token create --service-account cart --cloud-identity aws --keys eu-west-1.pem --claim account=123456789012",
    "weft token create --role editor --namespace shop --name ci --expires 30d > ci.token",
    "weft token create --role viewer --name grafana --certificate spiffe://cluster.local/ns/ops/sa/grafana",
    context_settings={"allow_interspersed_args": False},
)
@home_option
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE",
    help="Namespace of the service account; with --role editor, one that may be edited, and may be given again.  "
    "[default: default]",
)
@click.option("--service-account", default="", help="The service account that the token is for.")
@click.option("--gateway", default="", metavar="NAME", help="For the proxy of this Gateway, and its service account.")
@click.option(
    "--ttl", type=click.FloatRange(1, 30 * 86400), default=600.0, show_default=True, help="Seconds it is valid."
)
@click.option("--name", default="", help="Name of the instance; with --role, of the person or program.")
@click.option("--labels", multiple=True, metavar="KEY=VALUE[,...]", help="Its labels, for the printed command.")
@click.option("--port", "ports", multiple=True, metavar="PORT", help="A port as `weft run` takes it.")
@click.option("--bind", default="", metavar="IP", help="With --gateway: the address that its listeners bind.")
@click.option("--role", type=click.Choice(ROLES), help="For people and programs: what the bearer may do.")
@click.option("--expires", metavar="DURATION", callback=life, help="With --role: how long it is valid.  [default: 30d]")
@click.option(
    "--certificate",
    default="",
    metavar="NAME",
    help="With --role: no token, but a client certificate: spiffe://… of the mesh, or subject:… of --admin-client-ca.",
)
@demand_options
@click.option("--systemd", is_flag=True, help="Print a script that sets up a systemd unit, for root on the other host.")
@output_option
@click.argument("application", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
def create(
    *,
    home: Home,
    namespaces: tuple[str, ...],
    service_account: str,
    gateway: str,
    role: str | None,
    expires: float | None,
    certificate: str,
    ttl: float,
    name: str,
    labels: tuple[str, ...],
    ports: tuple[str, ...],
    bind: str,
    systemd: bool,
    output: str,
    application: tuple[str, ...],
    **demanded: Any,
) -> int:
    """Create a token: for a workload to join, or with --role for a person or a program.

    A join token works once: for one workload of the service account, from any host, until it expires. The command for
    the other host is printed. With --role the token alone is printed: it is what the bearer shows to the admin API.
    """
    from weft.local.client import AdminClient
    from weft.local.join import Invitation, Joining, join_command, systemd_script

    if role is not None:
        if service_account or gateway or labels or ports or bind or systemd or application or any(demanded.values()):
            raise click.UsageError("--role is for people and programs; what is for workloads does not go with it")
        return create_principal(
            home,
            role=role,
            name=name,
            namespaces=namespaces,
            expires=expires,
            certificate=certificate,
            output=output,
        )
    namespace = _one_namespace(namespaces, for_people=expires is not None or bool(certificate))
    _check_options(service_account, gateway, bool(name or labels or ports or application), bind)
    account = service_account or gateway
    group, uses = group_of(demanded, gateway)
    joining = Joining(namespace, account, name or gateway, labels, ports, application, bool(gateway), bind, group)
    if systemd and ((group and not name) or set(joining.open_fields) & {"NAME", "IP"}):
        raise click.UsageError("--systemd needs --name (with --gateway: --bind)")
    asked = {"namespace": namespace, "service_account": account, "ttl": ttl, **demands(demanded)}
    asked |= {"group": group, "uses": uses} if group else {}
    body = json.dumps(asked).encode()
    found = AdminClient(home).call("POST", "tokens", {}, body=body, headers={"content-type": "application/json"})
    invitation = Invitation(found["agent_api"], found["fingerprint"], found["token"])
    text = (systemd_script if systemd else join_command)(joining, invitation)
    if output != "table":
        print_value({**found, "command": text}, output)
        return 0
    click.echo(text)
    _say_about(found, ttl, uses, () if systemd else joining.open_fields)
    return 0


def _one_namespace(namespaces: tuple[str, ...], *, for_people: bool) -> str:
    if for_people:
        raise click.UsageError("--expires and --certificate go with --role; a join token has --ttl")
    if len(namespaces) > 1:
        raise click.UsageError("a workload has one namespace")
    return namespaces[0] if namespaces else "default"


def _check_options(service_account: str, gateway: str, has_workload: bool, bind: str) -> None:
    if not service_account and not gateway:
        raise click.UsageError("give --service-account NAME, or --gateway NAME")
    if gateway and (has_workload or service_account not in ("", gateway)):
        raise click.UsageError("a gateway has its own name, service account and ports: only --bind goes with --gateway")
    if bind and not gateway:
        raise click.UsageError("--bind goes with --gateway")


def _say_about(found: dict[str, str], ttl: float, uses: int, missing: tuple[str, ...]) -> None:
    from weft.model.addresses import is_loopback

    often = "once" if uses == 1 else f"{uses} times"
    click.echo(f"(token {found['id']}: valid {often}, for {ttl:g} s)", err=True)
    if missing:
        click.echo(f"put in {', '.join(missing)}; given here as options, they are printed", err=True)
    if is_loopback(found["agent_api"].rpartition(":")[0]):
        click.echo(
            "other hosts cannot reach that address: start the control plane with weft serve --bind ADDRESS (in "
            "weft.yaml: bind), an address of this host that they reach",
            err=True,
        )


@command("list", "weft token list", "weft token list --join", "weft token list -o json")
@home_option
@click.option("--join", is_flag=True, help="Only tokens with which workloads join.")
@output_option
def list_(home: Home, join: bool, output: str) -> int:
    """List tokens: what each is for, and whether it is still valid. The tokens themselves are not kept."""
    return list_all(home, join=join, output=output)


@command("revoke", "weft token revoke 3f1c9a0b2d4e", "weft token revoke ci", "weft token revoke ci -o json")
@home_option
@output_option
@click.argument("token_id", metavar="NAME", shell_complete=complete_token)
def revoke(home: Home, output: str, token_id: str) -> int:
    """Revoke a join token that has not been used, or a principal. NAME is as `weft token list` shows it, or the token
    itself."""
    import hashlib
    from urllib.parse import quote

    from weft.local.client import AdminClient

    if not is_join_token(token_id):
        return revoke_principal(home, token_id, output)
    if token_id.startswith("weft-"):
        token_id = hashlib.sha256(token_id.encode()).hexdigest()[:12]  # its id: the token itself is not sent
    found = AdminClient(home).call("DELETE", f"tokens/{quote(token_id, safe='')}", {})["revoked"]
    if output != "table":
        print_value(found, output)
        return 0
    click.echo(f"token {found['id']} for {found['namespace']}/{found['service_account']} is revoked")
    return 0


@command("whoami", "weft token whoami", "weft token whoami -o json")
@home_option
@output_option
def whoami(home: Home, output: str) -> int:
    """Say who you are to the control plane, and what you may do."""
    return print_self(home, output)


token.add_command(create)
token.add_command(list_)
token.add_command(revoke)
token.add_command(whoami)
