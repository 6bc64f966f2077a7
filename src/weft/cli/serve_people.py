"""The options of `weft serve` about who may call the admin API, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import CommandT

if TYPE_CHECKING:
    from weft.admin.people.oidc import OidcSettings
    from weft.controlplane.settings import RemoteAdmin

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def people_options(function: CommandT) -> CommandT:
    """``--admin-bind`` and what goes with it, and ``--oidc-issuer`` and what goes with that."""
    options = (
        click.option(
            "--admin-bind",
            default="",
            metavar="ADDRESS:PORT",
            help="Serve the admin API to other hosts too, over TLS 1.3.  [default: on loopback only]",
        ),
        click.option(
            "--admin-host",
            multiple=True,
            metavar="NAME",
            help="A name by which they reach it; may be given again.  [default: the address of --admin-bind]",
        ),
        click.option("--admin-cert", type=_FILE, help="Its certificate chain.  [default: one of the mesh]"),
        click.option("--admin-key", type=_FILE, help="The key of --admin-cert, mode 0600."),
        click.option("--admin-client-ca", type=_FILE, help="Roots of client certificates, besides the mesh's own."),
        click.option(
            "--kubernetes-users",
            is_flag=True,
            help="With --kubeconfig and --admin-bind: take whom the API server knows, with the rights that they have "
            "there for mesh.admin.weft.dev (docs/kubernetes.md).",
        ),
        click.option("--oidc-issuer", default="", metavar="URL", help="Take bearer tokens of this OpenID provider."),
        click.option("--oidc-audience", default="", help="What these tokens must be for."),
        click.option(
            "--oidc-role-claim",
            multiple=True,
            metavar="CLAIM=VALUE:ROLE",
            help="Who has a role: groups=sre:operator, groups=shop:editor:shop,payments; may be given again.",
        ),
        click.option("--oidc-name-claim", default="sub", show_default=True, help="The claim that names people."),
        click.option("--oidc-ca-file", type=_FILE, help="Roots of the provider's certificate.  [default: this host's]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def remote_admin(given: dict[str, Any]) -> RemoteAdmin | None:
    """How the admin API is reached from other hosts, as the options say; None: it is not."""
    from weft.controlplane.settings import RemoteAdmin

    dependent = ("admin_host", "admin_cert", "admin_key", "admin_client_ca", "kubernetes_users")
    others = [name for name in dependent if given[name]]
    if not given["admin_bind"]:
        if others:
            raise click.UsageError(f"--{others[0].replace('_', '-')} goes with --admin-bind")
        return None
    if given["kubernetes_users"]:
        if not given["kubeconfig"]:
            raise click.UsageError("--kubernetes-users goes with --kubeconfig")
        if given["write_status"] is False:
            raise click.UsageError(
                "--kubernetes-users does not go with --no-write-status: commands find the control plane by a ConfigMap "
                "that it writes"
            )
        if given["admin_cert"]:
            raise click.UsageError(
                "--kubernetes-users goes with a certificate of the mesh, which commands find by the cluster, not with "
                "--admin-cert"
            )
    host, _, port = given["admin_bind"].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"--admin-bind {given['admin_bind']}: expected ADDRESS:PORT, such as 10.0.0.7:15443")
    return RemoteAdmin(
        host.strip("[]"),
        int(port),
        tuple(given["admin_host"]),
        given["admin_cert"],
        given["admin_key"],
        given["admin_client_ca"],
        given["kubernetes_users"],
    )


def oidc(given: dict[str, Any]) -> OidcSettings | None:
    """The OpenID provider, as the options say; None: there is none."""
    from weft.admin.people.oidc import OidcSettings, OidcSettingsError, role_rule

    if not given["oidc_issuer"]:
        if given["oidc_audience"] or given["oidc_role_claim"]:
            raise click.UsageError("--oidc-audience and --oidc-role-claim go with --oidc-issuer")
        return None
    if not given["oidc_audience"] or not given["oidc_role_claim"]:
        raise click.UsageError("--oidc-issuer needs --oidc-audience and at least one --oidc-role-claim")
    try:
        rules = tuple(role_rule(text) for text in given["oidc_role_claim"])
    except OidcSettingsError as error:
        raise click.UsageError(f"--oidc-role-claim {error}") from error
    ca_file = str(given["oidc_ca_file"] or "")
    return OidcSettings(given["oidc_issuer"], given["oidc_audience"], rules, given["oidc_name_claim"], ca_file)
