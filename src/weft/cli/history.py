"""`weft history` and `weft history show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from weft.cli.complete import complete_kind, complete_name
from weft.cli.group import DefaultGroup
from weft.cli.options import command, home_option, output_option
from weft.cli.output import coloured_diff, object_text, print_table, print_value, styled
from weft.settings.home import Home

_SHOWN = 3
"""Objects and names that are written out in one line of a table."""


@click.group(cls=DefaultGroup, default="list")
def history() -> None:
    """Show which changes were made, by whom, and what came of them.

    `weft history [KIND] [NAME]` lists revisions, `weft history show REV` shows one.
    """


@command(
    "list",
    "weft history",
    "weft history virtualservice reviews",
    "weft history list --all --limit 100",
    "weft history -o json",
)
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("name", required=False, shell_complete=complete_name)
@home_option
@click.option("-n", "--namespace", help="Only what changed in this namespace.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Latest revisions shown.")
@click.option("--all", "everything", is_flag=True, help="Also workloads that came and went, from the audit.")
@output_option
def list_revisions(
    kind: str | None, name: str | None, home: Home, namespace: str | None, limit: int, everything: bool, output: str
) -> int:
    """List the latest revisions of the documents.

    A revision is one change: one `weft apply`, `delete` or `undo`, or what was saved in followed files at one moment.
    The latest is last. PROXIES counts those whose configuration it changed, CONFIRMED those that have confirmed it,
    with the time until the median and the last of them had. KIND may be KIND/NAME, too.
    """
    from weft.cli.kinds import kind_of_word
    from weft.local.client import AdminClient

    if kind is not None and "/" in kind and name is None:
        kind, name = kind.split("/", 1)
    word = None if kind is None else kind_of_word(kind).name
    client = AdminClient(home)
    answer = client.get("history", limit=str(limit), kind=word, name=name, namespace=namespace)
    found = answer["revisions"][::-1]
    if everything:
        found = _with_workloads(found, client.get("events")["events"])[-limit:]
    if output != "table":
        print_value(found, output)
        return 0
    headings = ("REVISION", "TIME", "WHO", "ACTION", "OBJECTS", "PROXIES", "CONFIRMED")
    print_table(headings, map(_row, found), empty="no revisions", whole=("TIME",))
    return 0


def _with_workloads(revisions: Sequence[dict[str, Any]], events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Revisions, and what workloads did, in the order of time."""
    rows = [
        {
            "revision": None,
            "time": one["time"],
            "who": one["who"],
            "action": one["action"],
            "objects": [],
            "workload": one["object"],
        }
        for one in events
        if one["outcome"] == "done" and one["object"].startswith("workload ")
    ]
    return sorted([*revisions, *rows], key=lambda one: str(one["time"]))


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    if one["revision"] is None:
        return ("", one["time"], one["who"], one["action"], one["workload"], "", "")
    return (
        one["revision"],
        one["time"],
        one["who"],
        one["action"],
        _objects(one),
        one["changed_proxies"],
        confirmed_text(one),
    )


def _objects(one: Mapping[str, Any]) -> str:
    names = [f"{object_text(each)} {each['change']}" for each in one["objects"][:_SHOWN]]
    more = one["object_count"] - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def confirmed_text(one: Mapping[str, Any]) -> str:
    """How far a revision has come at the proxies."""
    if one["together_with"]:
        return f"with {one['together_with']}"
    if not one["changed_proxies"]:
        return "-" if one["final"] else "not known yet"
    text = str(one["confirmed"])
    if one["confirmed_ms"] is not None:
        text += f" ({one['median_ms']:g} ms, last {one['confirmed_ms']:g} ms)"
    for word in ("pending", "refused", "stuck"):
        if one[word]:
            text += f", {len(one[word])} {word}"
    if gone := _gone(one):
        text += f", {gone} gone"
    return text


def _gone(one: Mapping[str, Any]) -> int:
    """Proxies that a revision changed and whose connection ended before they had confirmed it."""
    rest = sum(len(one[word]) for word in ("pending", "refused", "stuck"))
    return max(0, one["changed_proxies"] - one["confirmed"] - rest) if one["final"] else 0


@command("show", "weft history show 12", "weft history show 12 --resources", "weft history show 12 -o json")
@click.argument("revision", type=click.IntRange(1))
@home_option
@click.option("--resources", is_flag=True, help="Also each resource that proxies got, with what changed in it.")
@output_option
def show(revision: int, home: Home, resources: bool, output: str) -> int:
    """Show one revision: its documents before and after, and what it changed at proxies.

    Values of secrets are not kept: a marker stands for each, which is another one when the value is.
    """
    from weft.local.client import AdminClient

    found = AdminClient(home).get(f"history/{revision}")
    if output != "table":
        print_value(found, output)
        return 0
    click.echo(f"revision {found['revision']}, {found['time']}, {found['action']} by {found['who']}")
    for one in found["documents"]:
        click.echo(f"\n{object_text(one)} {one['change']}, from {one['source']}:{one['line']}")
        click.echo(coloured_diff(one["diff"]))
    click.echo()
    print_outcome(found)
    print_groups(found["resources"], resources)
    return 0


def print_outcome(found: Mapping[str, Any]) -> None:
    """Who has confirmed, and who has not."""
    count = found["changed_proxies"]
    if found["together_with"]:
        click.echo(f"it went to the proxies together with revision {found['together_with']}")
    elif not count:
        known = "it changed nothing for any connected proxy"
        click.echo(known if found["final"] else "what it changes is not known yet")
    else:
        proxies = "1 proxy" if count == 1 else f"{count} proxies"
        took = "" if found["confirmed_ms"] is None else f" within {found['confirmed_ms']:g} ms"
        click.echo(f"{found['confirmed']} of {proxies} confirmed{took}")
    for word, text in (("pending", "not confirmed"), ("refused", "refused by"), ("stuck", "not answering")):
        if found[word]:
            click.echo(styled(f"{text}: {_names(found[word], len(found[word]))}", "warning"))
    if (gone := _gone(found)) and not found["together_with"]:
        click.echo(f"connection ended before: {gone}; a proxy that comes back gets what is in force then")


def print_groups(groups: Sequence[Mapping[str, Any]], detailed: bool) -> None:
    """What proxies got: how many resources of each type, and with `detailed` which, with what changed in them."""
    for group in groups:
        click.echo(f"\n{_names(group['proxies'], group['proxy_count'])}")
        for kind, counts in group["counts"].items():
            click.echo(f"  {kind}: {', '.join(f'{number} {change}' for change, number in counts.items())}")
        for one in group["changes"] if detailed else ():
            click.echo(f"  {one['change']} {one['type']} {one['name']}")
            if one["diff"]:
                click.echo(coloured_diff(one["diff"], "    "))


def _names(names: Sequence[str], count: int) -> str:
    more = count - min(len(names), _SHOWN)
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more else "")


history.add_command(list_revisions)
history.add_command(show)
