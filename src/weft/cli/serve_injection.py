"""What `weft serve` is told of sidecars in pods, and of the webhooks that an API server asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import CommandT, PortNumber

if TYPE_CHECKING:
    from weft.controlplane.settings import WebhookSettings


def injection_options(function: CommandT) -> CommandT:
    """``--webhook-port``, ``--sidecar-image`` and what goes with it."""
    for option in (
        click.option("--classic-sidecars", is_flag=True, help="Proxies are containers, not native sidecars."),
        click.option(
            "--revision",
            default="default",
            show_default=True,
            metavar="NAME",
            help="What istio.io/rev and weft.dev/rev call this control plane; with another than default its webhook "
            "configurations are weft-injector-NAME and weft-validator-NAME.",
        ),
        click.option(
            "--sidecar-pull-policy",
            type=click.Choice(["Always", "IfNotPresent", "Never"]),
            default="IfNotPresent",
            show_default=True,
            help="When the image of sidecars is fetched.",
        ),
        click.option(
            "--sidecar-image",
            default="",
            metavar="IMAGE",
            help="Put sidecars of this image into pods of namespaces that want them (docs/injection.md).",
        ),
        click.option(
            "--webhook-port",
            type=PortNumber(least=0),
            help="Answer the API server's webhooks at this port, over TLS; with --kubeconfig.  [default: 15017 in a "
            "cluster, else not at all]",
        ),
    ):
        function = option(function)
    return function


def injection_given(given: Mapping[str, Any]) -> WebhookSettings | None:
    """What was given; None without an API server. click.UsageError."""
    from weft.controlplane.settings import WebhookSettings

    for option, value in (
        ("--webhook-port", given["webhook_port"] is not None),
        ("--sidecar-image", given["sidecar_image"]),
    ):
        if value and not given["kubeconfig"]:
            raise click.UsageError(f"{option} goes with --kubeconfig")
    if not given["kubeconfig"]:
        return None
    return WebhookSettings(
        port=given["webhook_port"],
        serves=given["webhook_port"] is not None or given["kubeconfig"] == "in-cluster",
        image=given["sidecar_image"],
        pull_policy=given["sidecar_pull_policy"],
        revision=given["revision"],
        native=not given["classic_sidecars"],
    )
