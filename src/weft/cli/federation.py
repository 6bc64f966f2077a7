"""`weft federation`: whom this trust domain believes, and what others need to believe it."""

from __future__ import annotations

import click

from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.model.printable import printable
from weft.settings.home import Home


@click.group(cls=Group)
def federation() -> None:
    """Trust between this mesh and others."""


@command("list", "weft federation list", "weft federation list -o json")
@home_option
@output_option
def list_(home: Home, output: str) -> int:
    """List federated trust domains: whether they are trusted, by how many roots, until when, and what went wrong."""
    from weft.local.client import AdminClient

    found = AdminClient(home).get("federation")
    if output != "table":
        print_value(found, output)
        return 0
    rows = [
        (
            printable(one["trust_domain"]),
            one["state"],
            str(len(one["roots"])),
            max((root["expires"] for root in one["roots"]), default="-"),
            one["fetched"] or "-",
            printable(one["endpoint"] or one["source"]),
            printable(one["error"] or "-"),
        )
        for one in found["domains"]
    ]
    titles = ("TRUST DOMAIN", "STATE", "ROOTS", "LAST ENDS", "FETCHED", "FROM", "ERROR")
    print_table(titles, rows, empty="no federated trust domains")
    return 0


@command(
    "bundle",
    "weft federation bundle > bundle.json",
    "weft federation bundle --document > mesh-a.yaml",
    "weft federation bundle --keys",
)
@home_option
@click.option("--document", is_flag=True, help="Print it as the FederatedTrustDomain that the other mesh applies.")
@click.option("--keys", is_flag=True, help="Print only the keys of tokens, as verifiers of JWTs take them.")
def bundle(home: Home, document: bool, keys: bool) -> int:
    """Print this trust domain's bundle, which is public: whoever has it can check this mesh's identities."""
    from weft.local.client import AdminClient

    if document and keys:
        raise click.UsageError("--document and --keys exclude each other")
    client = AdminClient(home)
    text = client.text("federation/keys" if keys else "federation/bundle")
    if document:
        text = _document(str(client.get("federation")["trust_domain"]), text)
    click.echo(text, nl=False)
    return 0


def _document(trust_domain: str, bundle: str) -> str:
    name = trust_domain.replace("_", "-").strip("-.")
    lines = "".join(f"    {line}\n" for line in bundle.splitlines())
    return (
        "apiVersion: weft.dev/v1alpha1\n"
        "kind: FederatedTrustDomain\n"
        f"metadata: {{name: {name}, namespace: istio-system}}\n"
        "spec:\n"
        f"  trustDomain: {trust_domain}\n"
        f"  trustDomainBundle: |\n{lines}"
    )


federation.add_command(list_)
federation.add_command(bundle)
