"""`weft authz`: who may call whom, by which policy."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.complete import complete_proxy
from weft.cli.group import Group
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_table, print_value, styled
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.mesh.model import Mesh

_JSON = {"content-type": "application/json"}


@click.group(cls=Group)
def authz() -> None:
    """Say who may call whom, and by which policy."""


@command(
    "check",
    "weft authz check shop/cart shop/orders:8080 --method POST --path /orders",
    "weft authz check outside shop/front:80 --path /cart --jwt token.txt",
    "weft authz check --from shop/cart --to shop/orders:8080 --method GET --path /x -H 'x-team: red' -o json",
    "weft authz check --files mesh/ cart orders:8080",
)
@click.argument("names", nargs=-1, metavar="[FROM TO]", shell_complete=complete_proxy)
@home_option
@click.option("--from", "caller", metavar="FROM", shell_complete=complete_proxy, help="Who calls, in place of FROM.")
@click.option("--to", metavar="TO", help="What is called, in place of TO.")
@click.option("--method", default="GET", show_default=True, help="Method of the request.")
@click.option("--path", default="/", show_default=True, help="Path of the request.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the request.")
@click.option("--jwt", metavar="FILE", help="A token, in a file or on the standard input (-): its claims are used.")
@click.option("--source-ip", default="", metavar="ADDRESS", help="The address from which it calls.")
@click.option("--files", metavar="DIR", multiple=True, help="Ask these files, not the control plane.")
@namespace_option
@output_option
def check(
    *,
    names: tuple[str, ...],
    home: Home,
    caller: str | None,
    to: str | None,
    method: str,
    path: str,
    headers: tuple[str, ...],
    jwt: str | None,
    source_ip: str,
    files: tuple[str, ...],
    namespace: str,
    output: str,
) -> int:
    """Say whether a call is allowed, and which policy decides.

    FROM is NAMESPACE/WORKLOAD, a service account (NAMESPACE/ACCOUNT, or sa:NAMESPACE/ACCOUNT if no workload has it),
    a SPIFFE identity, `outside` (a client of a gateway), or `nobody` (without a certificate). TO is
    NAMESPACE/SERVICE:PORT, or a workload. The answer is that of the policies in force now; what it depends on and is
    not given (the host header, the address) does not count as allowed. The signature of a token is not checked here.

    Exit code 0: allowed. 1: denied. 2: the line is wrong, or names nobody. 3: no control plane answers.
    """
    caller, to = _ends(names, caller, to)
    body: dict[str, Any] = {
        "from": caller,
        "to": to,
        "method": method,
        "path": path,
        "headers": _headers(headers),
        "source_ip": source_ip,
        "namespace": namespace,
    }
    if jwt is not None:
        body["claims"] = claims_of(_text(jwt))
    found = _offline(body, files) if files else _ask(home, body)
    if output != "table":
        print_value({"allowed": found["allowed"], "policy": found["policy"], "reason": found["reason"]}, output)
    else:
        _print(found, token=jwt is not None)
    return 0 if found["allowed"] else 1


def _ends(names: tuple[str, ...], caller: str | None, to: str | None) -> tuple[str, str]:
    """Who calls and what is called, each said once."""
    rest = list(names)
    found_from = caller or (rest.pop(0) if rest else None)
    found_to = to or (rest.pop(0) if rest else None)
    if not found_from or not found_to or rest:
        raise click.UsageError("say who calls and what is called: FROM TO, or --from FROM --to TO")
    return found_from, found_to


def _headers(lines: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"-H {line!r}: expected 'NAME: VALUE'")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def _text(source: str) -> str:
    return sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")


def claims_of(text: str) -> dict[str, Any]:
    """The claims of a token (JWT, RFC 7519), unchecked; UsageError if it is none."""
    parts = text.strip().removeprefix("Bearer ").split(".")
    try:
        if len(parts) != 3:
            raise ValueError
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(payload, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise click.UsageError("--jwt: this is no signed token (expected HEADER.CLAIMS.SIGNATURE)") from error
    if not isinstance(claims, dict):
        raise click.UsageError("--jwt: its claims are no JSON object")
    return claims


def _ask(home: Home, body: dict[str, Any]) -> dict[str, Any]:
    from weft.cli.failure import ExitCode, FailedError
    from weft.local.client import AdminClient, RefusedError

    try:
        answer: dict[str, Any] = AdminClient(home).call(
            "POST", "authz/check", {}, body=json.dumps(body).encode(), headers=_JSON
        )
    except RefusedError as error:
        if error.detail.get("code") != "unknown-name":
            raise
        raise FailedError(str(error), ExitCode.USAGE) from error
    return answer


def _offline(body: dict[str, Any], files: tuple[str, ...]) -> dict[str, Any]:
    import dataclasses

    from weft.cli.failure import ExitCode, FailedError
    from weft.explain.authorization import Asked
    from weft.explain.authorization import check as judge
    from weft.explain.callers import UnknownNameError

    asked = Asked(body["from"], body["to"], **{name: body[name] for name in body if name not in ("from", "to")})
    try:
        return dataclasses.asdict(judge(_mesh(files, body["namespace"]), asked))
    except UnknownNameError as error:
        raise FailedError(str(error), ExitCode.USAGE) from error


def _mesh(files: tuple[str, ...], namespace: str) -> Mesh:
    from weft.cli.changes import read_all
    from weft.local.offline import mesh_of_texts

    return mesh_of_texts(read_all(files), namespace)


def _print(found: dict[str, Any], *, token: bool) -> None:
    from weft.model.printable import printable

    word = styled("allowed", "good") if found["allowed"] else styled("denied", "error")
    click.echo(f"{word}: {printable(found['reason'], 600)}")
    if found["policy"]:
        click.echo(
            f"  by      {printable(found['policy']['object'], 300)}  {printable(found['policy']['source'], 300)}"
        )
    for note in found["notes"]:
        click.echo(f"  note    {printable(note, 400)}")
    if token:
        click.echo("  note    the token's signature was not checked: this is what a token with these claims may do")


@command("list", "weft authz list shop/orders", "weft authz list orders:8080 -n shop -o json")
@click.argument("name", metavar="WORKLOAD|SERVICE", shell_complete=complete_proxy)
@home_option
@namespace_option
@output_option
def list_(name: str, home: Home, namespace: str, output: str) -> int:
    """List the policies at a workload or service, in the order in which they are asked.

    Each with the place where it is written, and its rules in words: CUSTOM policies first, then DENY, then ALLOW.
    """
    from weft.local.client import AdminClient
    from weft.model.printable import printable

    found = AdminClient(home).get("authz/policies", of=name, namespace=namespace)
    if output != "table":
        print_value(found["places"], output)
        return 0
    for number, place in enumerate(found["places"]):
        if number:
            click.echo()
        click.echo(f"{styled(printable(place['workload'], 200), 'good')} port {place['port']} ({place['protocol']})")
        rows = [
            (policy["action"], printable(policy["object"], 200), printable(text, 400), printable(source, 300))
            for policy in place["policies"]
            for text, source in _rules(policy)
        ]
        print_table(("ACTION", "POLICY", "RULE", "SOURCE"), rows)
        click.echo(f"everything else is {place['default']}")
        for text in place.get("meets", ()):  # earlier control planes do not say it
            click.echo(f"besides, it {printable(text, 400)}")
    return 0


def _rules(policy: dict[str, Any]) -> list[tuple[str, str]]:
    rules = [(rule["text"], rule["source"]) for rule in policy["rules"]]
    return rules or [("no rules: it matches no call", policy["source"])]


@command(
    "matrix",
    "weft authz matrix",
    "weft authz matrix -n shop -n pay",
    "weft authz matrix -o html > matrix.html",
    "weft authz matrix -o json",
)
@home_option
@click.option("-n", "--namespace", multiple=True, help="Only services of it; may be given again.  [default: all]")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "html", "json", "yaml"]),
    default="text",
    show_default=True,
    help="Text for people, a page for a browser or a printer, or data for programs.",
)
def matrix(home: Home, namespace: tuple[str, ...], output: str) -> int:
    """Show who can call whom in the whole mesh.

    A row for each service account, a column for each service port; callers and ports with the same answers stand
    together. yes, no, some (with what), and open: no policy says anything there.
    """
    from weft.cli.matrix import matrix_page, print_matrix
    from weft.local.client import AdminClient

    found = AdminClient(home, timeout=120.0).get("authz/matrix", namespace=",".join(namespace) or None)
    if output == "html":
        click.echo(matrix_page(found), nl=False)
    elif output == "text":
        print_matrix(found)
    else:
        print_value(found, output)
    return 0


authz.add_command(check)
authz.add_command(list_)
authz.add_command(matrix)
