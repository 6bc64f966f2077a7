"""`weft proxy status`, `weft proxy config` and `weft proxy signals`; `restart` has a file of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from weft.cli.complete import complete_proxy
from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option
from weft.cli.output import moment, print_table, print_value, styled
from weft.cli.proxy_restart import restart
from weft.settings.home import Home

_SHORT = {
    "Cluster": "clusters",
    "ClusterLoadAssignment": "endpoints",
    "Listener": "listeners",
    "RouteConfiguration": "routes",
    "TypedExtensionConfig": "filters",
    "Secret": "secrets",
}
SECTIONS = ("clusters", "endpoints", "listeners", "routes", "filters", "secrets")


@click.group(cls=Group)
def proxy() -> None:
    """See what proxies know and have confirmed; restart one without a gap."""


@command("status", "weft proxy status", "weft proxy status -o json")
@home_option
@output_option
def status(home: Home, output: str) -> int:
    """List connected proxies and what they have confirmed.

    UNCONFIRMED tells how many resources of which type it refuses or has not confirmed yet, REVISION up to which one it
    has confirmed all; each replica of the control plane counts by itself, and anew when it is restarted. AGE is that of
    the connection, CERT how long its certificate lasts. INJECTED BY says of Pods which revision of the control plane
    has put the proxy in, REPLICA at which replica it is.
    """
    from weft.local.client import AdminClient

    answer = AdminClient(home).get("proxies")
    found, several = answer["proxies"], "unknown" in answer
    injected = any(one.get("injected_by") for one in found)
    if output != "table":
        print_value(found, output)
        return 0
    rows = [
        (
            one["name"],
            _state(one),
            one["revision_acked"],
            _unconfirmed(one),
            f"{one['bytes_sent']:,}",
            _duration(time.time() - moment(one["connected_since"])),
            _duration(moment(one["certificate_expires"]) - time.time()),
            *((one["replica"],) if several else ()),
            *((one.get("injected_by", ""),) if injected else ()),
        )
        for one in found
    ]
    more = (*(("REPLICA",) if several else ()), *(("INJECTED BY",) if injected else ()))
    headings = ("PROXY", "STATE", "REVISION", "UNCONFIRMED", "BYTES", "AGE", "CERT", *more)
    print_table(headings, rows, empty="no proxy is connected")
    for one in found:
        if nack := one.get("last_nack"):
            text = f"{one['name']} refused {nack['type']} {nack['resource']}: {nack['message']}"
            click.echo(styled(text, "warning"))
    for one in answer.get("unknown", ()):
        click.echo(styled(f"the proxies of replica {one['replica']} are unknown: {one['why']}", "warning"))
    return 0


def _state(one: Mapping[str, Any]) -> str:
    if one.get("stuck"):
        return "stuck"
    if any(kind.get("rejected") for kind in one.get("types") or ()):
        return "refuses"
    return "pending" if one["revision_acked"] < one["revision"] else "in sync"


def _unconfirmed(one: Mapping[str, Any]) -> str:
    """What the proxy does not hold as it should; ``-`` if nothing."""
    found = [
        f"{kind[count]} {_SHORT.get(kind['type'].rpartition('.')[2], kind['type'])} {word}"
        for kind in one.get("types") or ()
        for count, word in (("rejected", "refused"), ("pending", "pending"))
        if kind.get(count)
    ]
    return ", ".join(found) or "-"


def _duration(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


@command("config", "weft proxy config reviews-v2 routes", "weft proxy config reviews-v2.default all -o yaml")
@click.argument("name", shell_complete=complete_proxy)
@click.argument("section", type=click.Choice([*SECTIONS, "all"]), default="all", metavar="[PART]")
@home_option
@output_option
def config(name: str, section: str, home: Home, output: str) -> int:
    """Show what a proxy is given.

    NAME is a workload's name, or WORKLOAD.NAMESPACE. PART is clusters, endpoints, listeners, routes, filters, secrets
    or all. JSON and YAML show Envoy's own resources; private keys never leave the control plane.
    """
    from urllib.parse import quote

    from weft.cli.resources import resource_table
    from weft.local.client import AdminClient

    found = AdminClient(home).get(f"proxies/{quote(name, safe='')}/config/{section}")
    if output != "table":
        print_value(found if section == "all" else found[section], output)
        return 0
    chosen = [one for one in SECTIONS if one in found]
    for one in chosen:
        if len(chosen) > 1:
            click.echo(styled(f"{'' if one == chosen[0] else chr(10)}{one.upper()}", "good"))
        headings, rows = resource_table(one, found[one])
        print_table(headings, rows, empty=f"no {one}")
    return 0


@command("signals", "weft proxy signals reviews-v2", "weft proxy signals reviews-v2.default -o json")
@click.argument("name", shell_complete=complete_proxy)
@home_option
@output_option
def signals(name: str, home: Home, output: str) -> int:
    """Show what a proxy says about traffic, and which document and line asked for it.

    NAME is a workload's name, or WORKLOAD.NAMESPACE. Metrics, access logs and traces of the calls it makes and of those
    that come to it; without a document it is as MeshConfig says, or weft's default.
    """
    from urllib.parse import quote

    from weft.local.client import AdminClient

    found = AdminClient(home).get(f"proxies/{quote(name, safe='')}/signals")
    if output != "table":
        print_value(found, output)
        return 0
    rows = [(one["side"], one["signal"], one["what"], _asked_by(one), one["source"] or "-") for one in found["signals"]]
    print_table(("OF", "SIGNAL", "WHAT", "ASKED FOR BY", "AT"), rows)
    for side in ("source", "destination"):
        for one in found["metrics"][side]:
            click.echo(f"{one['metric']} ({side}): {_changes(one)}")
    return 0


def _asked_by(one: Mapping[str, Any]) -> str:
    key = one["object"]
    return f"{key['kind']} {key['namespace']}/{key['name']}" if key else "default"


def _changes(one: Mapping[str, Any]) -> str:
    if one["disabled"]:
        return "not served"
    parts = [f"without {', '.join(one['removed'])}"] if one["removed"] else []
    parts += [f"{tag['name']}={tag['attribute'] or repr(tag['constant'])}" for tag in one["tags"]]
    return "; ".join(parts)


proxy.add_command(status)
proxy.add_command(config)
proxy.add_command(signals)
proxy.add_command(restart)
