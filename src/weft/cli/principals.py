"""`weft token` for people and programs: what `create`, `list`, `revoke` and `whoami` do about principals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from weft.cli.output import print_table, print_value
from weft.settings.home import Home

ROLES = ("viewer", "editor", "operator", "admin")
_LIFE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_JSON = {"content-type": "application/json"}


def life(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """The callback of an option with a duration such as ``30d``, ``12h``, ``45m`` or ``90s``: in seconds."""
    if value is None:
        return None
    found = _LIFE.fullmatch(value)
    if found is None:
        text = f"'{value}': expected a number and a unit, such as 30d, 12h, 45m or 90s"
        raise click.BadParameter(text, ctx, param)
    return float(found[1]) * _SECONDS[found[2]]


def create_principal(
    home: Home,
    *,
    role: str,
    name: str,
    namespaces: Sequence[str],
    expires: float | None,
    certificate: str,
    output: str,
) -> int:
    """Make a principal, and print its token: on stdout alone, so that it can be put into a file."""
    from weft.local.client import AdminClient

    if not name:
        raise click.UsageError(f"--role {role} needs --name NAME: who, or what program, will have this token")
    if (role == "editor") != bool(namespaces):
        raise click.UsageError("an editor has namespaces, and no other role has: --role editor --namespace shop")
    body: dict[str, object] = {"name": name, "role": role, "namespaces": list(namespaces), "certificate": certificate}
    if expires is not None or certificate:
        body["ttl"] = expires or 0.0
    found = AdminClient(home).call("POST", "principals", {}, body=json.dumps(body).encode(), headers=_JSON)
    if output != "table":
        print_value(found, output)
        return 0
    row = found["principal"]
    until = f" until {row['expires']}" if row["expires"] else ""
    if found["token"]:
        click.echo(found["token"])
        told = f"({name} is {purpose(row)}{until}; this is shown once: keep it in a file of mode 0600, WEFT_TOKEN_FILE)"
    else:
        told = f"{name} is {purpose(row)}{until}, by the certificate {certificate}"
    click.echo(told, err=True)
    return 0


def purpose(row: dict[str, Any]) -> str:
    """What a principal is, in words."""
    return f"editor of {', '.join(row['namespaces'])}" if row["role"] == "editor" else str(row["role"])


def list_all(home: Home, *, join: bool, output: str) -> int:
    """Print join tokens and principals."""
    from weft.local.client import AdminClient

    client = AdminClient(home)
    tokens = [{"kind": "join", **one} for one in client.get("tokens")["tokens"]]
    principals = [] if join else [{"kind": "principal", **one} for one in client.get("principals")["principals"]]
    if output != "table":
        print_value([*tokens, *principals], output)
        return 0
    rows = [
        (
            one["id"],
            " if ".join([f"join as {one['namespace']}/{one['service_account']}{_of_group(one)}", *_demands(one)]),
            one["state"] + (f", {one['joined']} of {one['uses']} used" if one.get("uses", 1) > 1 else ""),
            one["created"],
            one["expires"],
            one["used"],
        )
        for one in tokens
    ]
    rows += [
        (
            one["name"],
            purpose(one) + (" (certificate)" if one["certificate"] else ""),
            one["state"] + (", ends soon" if one.get("ends_soon") else ""),
            one["created"],
            one["expires"] or "-",
            one["last_used"],
        )
        for one in principals
    ]
    shown = [tuple("-" if cell is None else cell for cell in row) for row in rows]
    print_table(("NAME", "FOR", "STATE", "CREATED", "EXPIRES", "USED"), shown, empty="no tokens")
    return 0


def _of_group(token: dict[str, Any]) -> str:
    return f" in group {token['group']}" if token.get("group") else ""


def _demands(token: dict[str, Any]) -> list[str]:
    """What a join token demands besides itself, as one text; none if nothing."""
    found = token.get("demands") or ()
    return ["; ".join(found)] if found else []


def is_join_token(text: str) -> bool:
    """Whether `text` is a join token or the id of one; principals are never called so."""
    return text.startswith("weft-") or re.fullmatch(r"[0-9a-f]{12}", text) is not None


def revoke_principal(home: Home, name: str, output: str) -> int:
    """Revoke a principal. Its token, if that is given, is not sent: its hash says as much."""
    import hashlib
    from urllib.parse import quote

    from weft.local.client import AdminClient

    if name.startswith("weft_"):
        name = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
    found = AdminClient(home).call("DELETE", f"principals/{quote(name, safe='')}", {})["revoked"]
    if output != "table":
        print_value(found, output)
        return 0
    click.echo(f"{found['name']}, {purpose(found)}, is revoked; its sessions have ended")
    return 0


def print_self(home: Home, output: str) -> int:
    """Print who calls, and what they may do."""
    from weft.local.client import AdminClient

    found = AdminClient(home).get("self")
    if output != "table":
        print_value(found, output)
        return 0
    roles = "; ".join(purpose(one) for one in found["roles"])
    rows = (
        ("NAME", found["name"]),
        ("ROLE", roles),
        ("PROVEN BY", found["proof"]),
        ("UNTIL", found["expires"] or "-"),
        ("MAY", ", ".join(found["permissions"])),
    )
    for heading, value in rows:
        click.echo(f"{heading:<10} {value}")
    return 0
