"""`weft graph`."""

from __future__ import annotations

import re
from typing import Any

import click

from weft.cli.options import command, home_option
from weft.cli.output import print_value, styled
from weft.settings.home import Home

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DAY = 86400.0


class Window(click.ParamType[float]):
    """A time to look back: ``90``, ``90s``, ``5m``, ``1h``, ``1d``; in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 1 <= seconds <= _DAY:
            self.fail(f"'{value}': expected 1s to 1d, as 90s, 5m or 1h", param, ctx)
        return seconds


@command(
    "graph",
    "weft graph",
    "weft graph --window 15m --namespace shop",
    "weft graph -o svg > mesh.svg",
    "weft graph -o mermaid --fold '*'",
)
@home_option
@click.option("--window", type=Window(), default="1m", show_default=True, help="How far to look back, at most 1d.")
@click.option(
    "-n",
    "--namespace",
    multiple=True,
    help="Only this namespace and its neighbours; may be given again.  [default: all]",
)
@click.option(
    "--fold", multiple=True, metavar="NAMESPACE", help="Show a namespace as one node; may be given again; '*': each."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "mermaid", "dot", "svg", "json", "yaml"]),
    default="text",
    show_default=True,
    help="Text for people, a drawing, or data for programs.",
)
def graph(home: Home, window: float, namespace: tuple[str, ...], fold: tuple[str, ...], output: str) -> int:
    """Draw who calls whom.

    Rates, success and the 99th percentile are those of the window. A dashed edge is a call that a document or a
    workload asks for and that nobody made; where a rule divides the calls, both shares are shown, asked and seen.
    """
    import msgspec

    from weft.local.client import AdminClient
    from weft.traffic.drawings.dot import draw_dot
    from weft.traffic.drawings.mermaid import draw_mermaid
    from weft.traffic.drawings.svg import draw_svg
    from weft.traffic.drawings.text import draw_text
    from weft.traffic.graph import Graph

    answer = AdminClient(home).get(
        "graph", window=f"{window:g}", namespace=",".join(namespace) or None, fold=",".join(fold) or None
    )
    if output in ("json", "yaml"):
        print_value(answer, output)
        return 0
    found = msgspec.convert(answer, Graph)
    match output:
        case "mermaid":
            click.echo(draw_mermaid(found))
        case "dot":
            click.echo(draw_dot(found))
        case "svg":
            click.echo(draw_svg(found))
        case _:
            click.echo(draw_text(found, styled))
            if not found.nodes and namespace:
                click.echo(f"there is no service and nobody calls in namespace {', '.join(namespace)}", err=True)
            elif not found.nodes:
                click.echo("there is no service and nobody calls; apply a Service, or start one: weft run", err=True)
            elif not any(link.requests or link.connections_opened for link in found.edges):
                text = f"no traffic was seen in the last {window:g} s; dashed edges are what documents ask for"
                click.echo(text, err=True)
    return 0
