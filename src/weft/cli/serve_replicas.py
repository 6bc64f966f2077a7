"""What `weft serve` is told of other replicas of the control plane, and of leaving proxies to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weft.cli.options import CommandT
    from weft.controlplane.settings import ReplicaSettings

_LABEL = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
"""https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""


def replica_options(function: CommandT) -> CommandT:
    """``--replicas``, ``--drain``."""
    for option in (
        click.option(
            "--drain",
            type=click.FloatRange(0, 300),
            default=0.0,
            metavar="SECONDS",
            help="When told to stop, go on serving for so long, not ready any more, while proxies leave for another "
            "replica one after the other.  [default: 0, stop at once]",
        ),
        click.option(
            "--replicas",
            default="",
            metavar="LABELS",
            help="Pods of --kubernetes-namespace with these labels (app=weft,role=server) are control planes of the "
            "same mesh: what their proxies hold is known here, too (docs/replicas.md).",
        ),
    ):
        function = option(function)
    return function


def replicas_given(given: Mapping[str, Any], namespace: str) -> ReplicaSettings | None:
    """Where other replicas are; `namespace` is that of the control planes (empty: no cluster). click.UsageError."""
    from weft.controlplane.settings import ReplicaSettings

    labels = given["replicas"]
    if not labels:
        return None
    if not namespace:
        raise click.UsageError("--replicas goes with --kubeconfig")
    for each in labels.split(","):
        name, equals, value = each.partition("=")
        if not (equals and _LABEL.fullmatch(name) and _VALUE.fullmatch(value)):
            raise click.UsageError(f"--replicas: found '{each[:80]}', expected NAME=VALUE, several with commas")
    return ReplicaSettings(namespace, labels)
