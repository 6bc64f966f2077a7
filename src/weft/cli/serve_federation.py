"""Options of `weft serve` for federation: where the trust bundle is published, and whence others' are fetched."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from weft.cli.options import CommandT
from weft.controlplane.settings import Network
from weft.model.workload import SocketAddress

_FILE = click.Path(path_type=Path, dir_okay=False)


def federation_options(function: CommandT) -> CommandT:
    """``--bundle-endpoint`` and what goes with it."""
    options = (
        click.option(
            "--bundle-endpoint",
            default="",
            metavar="ADDRESS:PORT",
            help="Publish the trust bundle here, over HTTPS, for other trust domains.",
        ),
        click.option(
            "--bundle-certificate",
            type=_FILE,
            metavar="FILE",
            help="The endpoint's certificate (https_web).  [default: the control plane's own, https_spiffe]",
        ),
        click.option("--bundle-key", type=_FILE, metavar="FILE", help="The key of --bundle-certificate."),
        click.option(
            "--bundle-network",
            multiple=True,
            metavar="CIDR",
            help="A network from which other trust domains' bundles may be fetched, besides public addresses; may be "
            "given again.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class FederationOptions:
    """What is said of bundles: where this one is published, with which files, and whence others are fetched."""

    endpoint: SocketAddress | None = None
    files: tuple[Path, Path] | None = None
    networks: tuple[Network, ...] = ()


def federation_given(given: Mapping[str, Any]) -> FederationOptions:
    """The options as they were given. UsageError if they do not go together."""
    certificate, key = given["bundle_certificate"], given["bundle_key"]
    if (certificate is None) is not (key is None):
        raise click.UsageError("--bundle-certificate and --bundle-key go together")
    files = (certificate.absolute(), key.absolute()) if certificate is not None else None
    endpoint = _address(given["bundle_endpoint"])
    if endpoint is None and files is not None:
        raise click.UsageError("--bundle-certificate and --bundle-key go with --bundle-endpoint")
    try:
        networks = tuple(ipaddress.ip_network(text) for text in given["bundle_network"])
    except ValueError as error:
        raise click.UsageError(f"--bundle-network: {error}; expected a network such as 10.0.0.0/8") from error
    return FederationOptions(endpoint, files, networks)


def _address(text: str) -> SocketAddress | None:
    host, _, port = text.rpartition(":")
    if not text:
        return None
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"--bundle-endpoint '{text}': expected ADDRESS:PORT")
    return SocketAddress(host.strip("[]"), int(port))
