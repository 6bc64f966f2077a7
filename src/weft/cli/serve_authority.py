"""What `weft serve` is told of who signs the mesh's intermediate in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weft.cli.options import CommandT
    from weft.controlplane.cluster_authority import ClusterAuthoritySettings
    from weft.sources.kubernetes.kubeconfig import KubeconfigFile

_LEAST_DAYS, _MOST_DAYS = 2, 3650


def authority_options(function: CommandT) -> CommandT:
    """``--ca-signer``, ``--ca-issuer``, ``--ca-roots``, ``--ca-days``."""
    for option in (
        click.option(
            "--ca-days",
            type=click.FloatRange(_LEAST_DAYS, _MOST_DAYS),
            default=30.0,
            show_default=True,
            help="With --ca-signer or --ca-issuer: how long an intermediate is to live; it is renewed at half of it.",
        ),
        click.option(
            "--ca-roots",
            default="",
            metavar="PLACE",
            help="With these: where the roots are kept, configmap/NAMESPACE/NAME[/KEY] or bundle/NAME.",
        ),
        click.option(
            "--ca-issuer",
            default="",
            metavar="KIND/NAME",
            help="Have cert-manager sign the mesh's intermediate: Issuer/NAME or ClusterIssuer/NAME (docs/ca.md).",
        ),
        click.option(
            "--ca-signer",
            default="",
            metavar="NAME",
            help="Have a signer of the cluster sign it, by a CertificateSigningRequest.",
        ),
    ):
        function = option(function)
    return function


def authority_given(
    given: Mapping[str, Any], kubernetes: KubeconfigFile | None, namespace: str
) -> ClusterAuthoritySettings | None:
    """The options, read; None without them. UsageError says what does not fit. Requests to cert-manager are made in
    `namespace`, the control plane's own."""
    from weft.controlplane.cluster_authority import ClusterAuthoritySettings, RootsPlaceError, roots_place

    signer, issuer, roots = given["ca_signer"], given["ca_issuer"], given["ca_roots"]
    if not (signer or issuer):
        if roots:
            raise click.UsageError("--ca-roots goes with --ca-signer or --ca-issuer")
        return None
    if signer and issuer:
        raise click.UsageError("--ca-signer and --ca-issuer exclude each other")
    if kubernetes is None:
        raise click.UsageError("--ca-signer and --ca-issuer need --kubeconfig: they ask its API server")
    kind, slash, name = issuer.partition("/")
    if issuer and not (slash and name and kind and "/" not in name):
        raise click.UsageError(f"--ca-issuer: found '{issuer}', expected Issuer/NAME or ClusterIssuer/NAME")
    if signer and "/" not in signer:
        raise click.UsageError(f"--ca-signer: found '{signer}', expected a signer's name such as example.com/mesh")
    if not roots:
        raise click.UsageError("--ca-roots is missing: who signs does not say whom to trust")
    try:
        place = roots_place(roots)
    except RootsPlaceError as error:
        raise click.UsageError(f"--ca-roots: {error}") from error
    return ClusterAuthoritySettings(place, signer, issuer, namespace, given["ca_days"] * 86400)
