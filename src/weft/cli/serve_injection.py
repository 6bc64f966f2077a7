"""What `weft serve` is told of sidecars in pods, and of the webhooks that an API server asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import CommandT, PortNumber
from weft.cli.serve_revisions import revision_given

if TYPE_CHECKING:
    from weft.controlplane.settings import WebhookSettings


def injection_options(function: CommandT) -> CommandT:
    """``--webhook-port``, ``--sidecar-image`` and what goes with it."""
    function = _gateway_options(function)
    for option in (
        click.option(
            "--cni",
            is_flag=True,
            help="Pods are captured by the agents of their nodes (`weft cni`), and need no right for it.",
        ),
        click.option("--classic-sidecars", is_flag=True, help="Proxies are containers, not native sidecars."),
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


def _gateway_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--gateway-replicas",
            default="1-5",
            show_default=True,
            metavar="MIN-MAX",
            help="Between how many pods the autoscaler of a Gateway chooses; one number: no autoscaler.",
        ),
        click.option(
            "--gateway-service-type",
            type=click.Choice(["LoadBalancer", "ClusterIP", "NodePort"]),
            default="LoadBalancer",
            show_default=True,
            help="Type of the Service of a Gateway whose document does not say it.",
        ),
        click.option(
            "--gateways/--no-gateways",
            default=True,
            show_default=True,
            help="Make a process for each Gateway of the cluster whose class is weft's; with --sidecar-image.",
        ),
    ):
        function = option(function)
    return function


def injection_given(given: Mapping[str, Any]) -> WebhookSettings | None:
    """What was given; None without an API server. click.UsageError."""
    from weft.controlplane.settings import GatewaySettings, WebhookSettings

    for option, value in (
        ("--webhook-port", given["webhook_port"] is not None),
        ("--sidecar-image", given["sidecar_image"]),
        ("--cni", given["cni"]),
        ("--no-gateways", not given["gateways"]),
        ("--revision", given["revision"] != "default"),
        ("--revision-tag", given["revision_tags"]),
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
        revision=revision_given(given["revision"], given["revision_tags"]),
        native=not given["classic_sidecars"],
        cni=given["cni"],
        gateways=GatewaySettings(
            given["gateway_service_type"], *_replicas(given["gateway_replicas"]), made=given["gateways"]
        ),
    )


def _replicas(text: str) -> tuple[int, int]:
    """The fewest, and the most (0: nobody chooses). click.UsageError."""
    fewest, dash, most = text.partition("-")
    numbers = [int(each) for each in (fewest, most) if each.isascii() and each.isdigit() and len(each) < 5]
    if len(numbers) != 1 + bool(dash) or numbers[0] < 1 or (dash and numbers[1] < numbers[0]):
        raise click.UsageError(f"--gateway-replicas: found '{text}', expected a number, or MIN-MAX such as 1-5")
    return numbers[0], numbers[1] if dash else 0
