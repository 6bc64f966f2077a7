"""What `weft token create` demands of a workload besides the join token: the options, and how the API takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from weft.cli.options import CommandT


def demand_options(function: CommandT) -> CommandT:
    """``--group``, ``--uses``, ``--from``, ``--key``, ``--previous-certificate``, ``--cloud-identity``, ``--keys``,
    ``--claim``."""
    for option in (
        click.option(
            "--claim",
            "claims",
            multiple=True,
            metavar="NAME=VALUE",
            help="What the identity document must say: account=1234.",
        ),
        click.option(
            "--keys",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="With --cloud-identity: the keys that the cloud signs by, as PEM or as a JSON Web Key Set.",
        ),
        click.option(
            "--cloud-identity",
            "cloud",
            type=click.Choice(["aws", "gcp", "azure"]),
            help="Only for an instance of this cloud that shows its identity document.",
        ),
        click.option(
            "--previous-certificate",
            "previous",
            is_flag=True,
            help="Only for who still has a certificate (also expired) of the workload.",
        ),
        click.option("--key", default="", metavar="FINGERPRINT|FILE", help="Only for the holder of this key."),
        click.option(
            "--uses", type=click.IntRange(1, 10_000), help="With --group: how many instances may join.  [default: 1]"
        ),
        click.option("--group", default="", metavar="NAME", help="Only for instances of this WorkloadGroup."),
        click.option("--from", "networks", multiple=True, metavar="CIDR[,...]", help="Only from these addresses."),
    ):
        function = option(function)
    return function


def demands(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the token demands, as the API takes it; nothing if it demands nothing. `given` has the options' values."""
    cloud, keys, claims = given["cloud"], given["keys"], given["claims"]
    if bool(cloud) != bool(keys) or (claims and not cloud):
        raise click.UsageError("--cloud-identity, --keys and --claim go together")
    pairs = [claim.partition("=") for claim in claims]
    if any(not name or not equals for name, equals, _ in pairs):
        raise click.UsageError("--claim: expected NAME=VALUE, such as account=123456789012")
    try:
        text = keys.read_text() if keys else ""
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--keys {keys}: {error}") from error
    found = {
        "networks": [one.strip() for network in given["networks"] for one in network.split(",")],
        "key": _fingerprint(given["key"]),
        "certificate": given["previous"],
        "cloud": cloud or "",
        "keys": text,
        "claims": [(name, value) for name, _, value in pairs],
    }
    return {"demands": found} if any(found.values()) else {}


def group_of(given: Mapping[str, Any], gateway: str) -> tuple[str, int]:
    """The WorkloadGroup that the token is for (empty: none), and how many of its instances."""
    group, uses = given["group"], given["uses"] or 1
    if uses > 1 and not group:
        raise click.UsageError("--uses goes with --group: a token for several is for the instances of a WorkloadGroup")
    if group and gateway:
        raise click.UsageError("--group is for workloads, --gateway for the proxy of a Gateway")
    return group, uses


def _fingerprint(key: str) -> str:
    """``sha256:HEX`` as it is, or that of the public key in a file."""
    if not key or key.startswith("sha256:"):
        return key
    from cryptography.hazmat.primitives import serialization

    from weft.ca.attestation import key_fingerprint

    try:
        return key_fingerprint(serialization.load_pem_public_key(Path(key).read_bytes()))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--key {key}: expected sha256:HEX, or a file with a public key in PEM") from error
