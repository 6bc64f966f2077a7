"""`weft explain`."""

from __future__ import annotations

import re
from typing import Any

import click

from weft.cli.complete import complete_proxy
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_value
from weft.settings.home import Home

_METHOD = re.compile(r"[A-Z]+")
_REQUEST_ID = re.compile(r"[0-9a-fA-F-]{16,64}")


@command(
    "explain",
    "weft explain --from productpage-v1 http://reviews:9080/reviews/0",
    "weft explain --from productpage-v1 --to reviews:9080 GET /reviews/0 -H 'end-user: jason'",
    "weft explain --from front http://shop.example.com/cart -o json",
    "weft explain --from productpage-v1 tcp://db:5432",
    "weft explain 4f1c1a52-92fa-4a9b-9d9e-3f0a51c4c1f0",
    "weft explain --trace 4bf92f3577b34da6a3ce929d0e0e4736",
)
@click.argument("words", nargs=-1, metavar="[METHOD] URL | REQUEST_ID")
@home_option
@click.option("--from", "caller", metavar="WORKLOAD", shell_complete=complete_proxy, help="Who calls, or a gateway.")
@click.option("--to", metavar="SERVICE", help="The service, where only a path is given: NAME[.NAMESPACE][:PORT].")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the request.")
@click.option("--trace", metavar="TRACE_ID", help="The failed requests of a trace.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Without --from: who calls is in it.")
@output_option
def explain(
    words: tuple[str, ...],
    home: Home,
    caller: str | None,
    to: str | None,
    headers: tuple[str, ...],
    trace: str | None,
    namespace: str,
    output: str,
) -> int:
    """Say why a request is answered as it is.

    Of a request that is described: which proxy takes it, the rules that are tried and the one that decides, with its
    document and line, where it goes, the endpoints and their health, and what is wrong on the way. A connection that
    carries no HTTP is tcp://HOST:PORT, or tls://HOST:PORT if it asks for a server name. Of a request that failed,
    by its request id (`weft requests` lists them) or trace id: what each proxy saw, and how long it took. Exit code 1
    when the request would fail, or has.
    """
    from weft.cli.ladder import print_explanation
    from weft.local.client import AdminClient

    client = AdminClient(home)
    if trace or (len(words) == 1 and not caller and not to and _REQUEST_ID.fullmatch(words[0])):
        which = {"trace": trace} if trace else {"id": words[0]}
        found = client.get("requests/explain", **which)
    else:
        body = _body(words, to, headers) | {"from": caller or "", "namespace": namespace}
        found = client.call("POST", "explain", {}, body=_json(body), headers={"content-type": "application/json"})
    if output != "table":
        print_value(found, output)
    else:
        print_explanation(found)
    return 0 if found["answer"]["outcome"] in ("forwarded", "answered") else 1


def _body(words: tuple[str, ...], to: str | None, headers: tuple[str, ...]) -> dict[str, Any]:
    """The request as the command line describes it."""
    rest = list(words)
    method = rest.pop(0) if rest and _METHOD.fullmatch(rest[0]) else "GET"
    if len(rest) > 1 or not (rest or to):
        raise click.UsageError("expected [METHOD] URL, or --to SERVICE with a path; or the id of a failed request")
    pairs = [line.partition(":") for line in headers]
    bad = next((line for line, (_, colon, _) in zip(headers, pairs, strict=True) if not colon), None)
    if bad is not None:
        raise click.UsageError(f"-H {bad!r}: expected 'NAME: VALUE'")
    url = rest[0] if rest else "/"
    named = {name.strip(): value.strip() for name, _, value in pairs}
    return {"url": url, "to": to or "", "method": method, "headers": named}


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()
