"""`weft describe`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from weft.cli.addresses import KINDS as ADDRESSED
from weft.cli.addresses import addresses_of
from weft.cli.complete import complete_kind, complete_name
from weft.cli.failure import FailedError
from weft.cli.get import missing_text, with_status
from weft.cli.kinds import kind_of_word
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import object_text, print_table, print_value, problem_text, styled
from weft.local.client import AdminClient
from weft.settings.home import Home

_CONDITIONS = ("TYPE", "STATUS", "REASON", "MESSAGE")
_ENDPOINTS = ("PORT", "WORKLOAD", "ADDRESS", "HEALTH")
_TOLD = ("workload", "address", "health", "locality")


@command(
    "describe",
    "weft describe gateway front",
    "weft describe httproute reviews -n shop",
    "weft describe service reviews",
    "weft describe gateway front -o json",
)
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name", shell_complete=complete_name)
@home_option
@namespace_option
@output_option
def describe(*, kind: str, name: str, home: Home, namespace: str, output: str) -> int:
    """Show one document with its conditions and problems.

    Of a route: how each parent took it. Of a Gateway: whether it and each of its listeners are in force, and why not.
    Of a Service: its addresses and endpoints. Of a policy for Services: whether it is in force for each. Problems are
    shown at once, also those that `weft problems` lists after a while only.
    """
    found = kind_of_word(kind)
    where = namespace if found.namespaced else None
    client = AdminClient(home)
    answers = client.get("documents", kind=found.word, namespace=where, name=name)["documents"]
    if not answers:
        every = client.get("documents", kind=found.word)["documents"]
        raise FailedError(missing_text(found.name, name, where, [with_status(one)["metadata"] for one in every]))
    answer = answers[0]
    problems = [one for one in client.get("problems", at_once="1")["problems"] if one["object"] == answer["key"]]
    endpoints = _endpoints(client, name, namespace) if found.name == "Service" else None
    addresses = None
    if found.name in ADDRESSED:
        addresses = addresses_of(client.get("services")["services"], found.name, with_status(answer))
    if output != "table":
        shown = {**with_status(answer), "problems": problems}
        shown |= {} if addresses is None else {"addresses": addresses}
        print_value(shown if endpoints is None else {**shown, "endpoints": endpoints}, output)
        return 0
    click.echo(f"{object_text(answer['key'])}, from {answer['source']}:{answer['line']}")
    if addresses is not None:
        click.echo(f"addresses: {', '.join(addresses) or 'none'}")
    for title, conditions in _told(answer):
        click.echo(f"\n{title}")
        print_table(_CONDITIONS, [[one[name.lower()] for name in _CONDITIONS] for one in conditions])
    if endpoints is not None:
        click.echo("\nendpoints" if endpoints else "\nno endpoints")
        headings = (*_ENDPOINTS, "LOCALITY") if any(one.get("locality") for one in endpoints) else _ENDPOINTS
        print_table(headings, [[one.get(name.lower(), "") for name in headings] for one in endpoints])
    click.echo("\nproblems" if problems else styled("\nno problems", "good"))
    for problem in problems:
        click.echo(problem_text({**problem, "object": None}))
    return 0


def _told(answer: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The conditions of a document, under what they are about."""
    if "conditions" in answer:
        yield "conditions", answer["conditions"]
    for listener in answer.get("listeners", ()):
        count = listener["attachedRoutes"]
        yield f"listener {listener['name']}, {count} {'route' if count == 1 else 'routes'}", listener["conditions"]
    for ancestor in answer.get("ancestors", ()):
        reference = ancestor["ancestorRef"]
        section = f" section {reference['sectionName']}" if "sectionName" in reference else ""
        yield f"for {object_text(reference)}{section}", ancestor["conditions"]
    for parent in answer.get("parents", ()):
        reference = parent["parentRef"]
        section = f" section {reference['sectionName']}" if "sectionName" in reference else ""
        port = f" port {reference['port']}" if "port" in reference else ""
        yield f"parent {object_text(reference)}{section}{port}", parent["conditions"]


def _endpoints(client: AdminClient, name: str, namespace: str) -> list[dict[str, Any]]:
    return [
        {"port": port["port"], **{field: one[field] for field in _TOLD if field in one}}
        for service in client.get("services")["services"]
        if (service["name"], service["namespace"]) == (name, namespace)
        for port in service["ports"]
        for one in port["endpoints"]
    ]
