"""Options that name a cluster of Kubernetes. Each is the variable for this command, and for what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weft.cli.complete import complete_context
from weft.cli.options import CommandT
from weft.cli.remote_options import setting_options
from weft.local.cluster import CONTEXT, KUBECONFIG, NAMESPACE, USUAL_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    ("--kubeconfig", KUBECONFIG, "FILE", "Speak to weft in the cluster of this file.  [default: kubectl's]"),
    ("--kube-namespace", NAMESPACE, "NAME", f"Where weft is in the cluster.  [default: {USUAL_NAMESPACE}]"),
)


_CONTEXT = (("--context", CONTEXT, "NAME", "In the cluster of this context.  [default: the current one]"),)


def cluster_options(function: CommandT) -> CommandT:
    """``--kubeconfig``, ``--context``, ``--kube-namespace``; `weft.local.cluster` reads them."""
    return setting_options(setting_options(function, _OPTIONS), _CONTEXT, complete_context)


def revision_option(text: str) -> Callable[[CommandT], CommandT]:
    """``--revision NAME``, of which the help says `text`."""
    return click.option("--revision", metavar="NAME", callback=_revision, help=text)


def _revision(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001
    from weft.model.revisions import is_revision

    if value is not None and not is_revision(value):
        raise click.UsageError(
            f"--revision: found '{value[:100]}', expected lower-case letters, digits and '-', at most 40"
        )
    return value
