"""The graph as one SVG file of its own: both themes, no script, no font or picture from elsewhere, all text escaped."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape, quoteattr

from weft.model.printable import printable
from weft.traffic.drawings.words import (
    health_of,
    link_words,
    node_name,
    node_words,
    security_words,
    short_weight_words,
    weight_words,
)
from weft.traffic.graph import Graph, Link, Node
from weft.traffic.layout import NODE_HEIGHT, NODE_WIDTH, ROW_STEP

_STYLE = """
:root { color-scheme: light dark; }
svg { background: #fbfbfa; font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.box { fill: #ffffff; stroke: #8a8f98; } .outside .box, .namespace .box { stroke-dasharray: 4 3; }
.name { fill: #16181d; font-weight: 600; } .words, .label { fill: #4a4f58; font-size: 11px; }
.label { paint-order: stroke; stroke: #fbfbfa; stroke-width: 4px; }
.link { fill: none; stroke: #8a8f98; } .head { fill: #8a8f98; }
.none .link { stroke: #a6abb4; } .intent .link { stroke-dasharray: 5 5; }
.poor .link { stroke: #b45309; } .poor .head { fill: #b45309; } .poor .label { fill: #92400e; }
.bad .link { stroke: #b91c1c; } .bad .head { fill: #b91c1c; } .bad .label { fill: #991b1b; }
.box.poor { stroke: #b45309; } .box.bad { stroke: #b91c1c; stroke-width: 2; }
.lock { fill: none; stroke: #4a4f58; stroke-width: 1.4; } .lock .body { fill: #4a4f58; }
.slice0 { fill: #3565c4; } .slice1 { fill: #7d9be0; } .slice2 { fill: #1f3d7a; } .slice3 { fill: #aab4c8; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181d; } .box { fill: #22252c; stroke: #767c87; }
  .name { fill: #f1f2f4; } .words, .label { fill: #b4bac4; } .label { stroke: #16181d; }
  .poor .link, .box.poor { stroke: #f59e0b; } .poor .head { fill: #f59e0b; } .poor .label { fill: #fbbf24; }
  .bad .link, .box.bad { stroke: #f87171; } .bad .head { fill: #f87171; } .bad .label { fill: #fca5a5; }
  .lock { stroke: #b4bac4; } .lock .body { fill: #b4bac4; }
}
"""
_WIDEST = 8.0
_SLICES = 4


def draw_svg(graph: Graph) -> str:
    """A picture. An edge is as wide as the logarithm of its rate; its colour tells of errors; a lock is mutual TLS, a
    dashed line is what a rule asks for and nobody did; the bar in a node shows the shares of its versions."""
    by_id = {node.id: node for node in graph.nodes}
    size = f'width="{graph.width:g}" height="{graph.height:g}" viewBox="0 0 {graph.width:g} {graph.height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{len(graph.nodes)} services and callers, {len(graph.edges)} edges</title>",
        f"<style>{_STYLE}</style>",
        *(_link(link, by_id[link.caller], by_id[link.callee]) for link in graph.edges),
        *(_node(node, graph) for node in graph.nodes),
        "</svg>",
    ]
    return "\n".join(parts)


def _node(node: Node, graph: Graph) -> str:
    left, top = node.x - NODE_WIDTH / 2, node.y - NODE_HEIGHT / 2
    name = node_name(node, graph)
    words = node_words(node) or ("no traffic" if node.kind != "namespace" else f"{len(node.members)} services")
    if node.problems:
        words = f"⚠ {node.problems} · {words}"
    health = health_of(node.success_rate)
    radius = 32 if node.kind == "gateway" else 6
    return (
        f'<g class="{escape(node.kind)}"><title>{escape(f"{printable(node.id)}: {words}")}</title>'
        f'<rect class="box {health}" x="{left:g}" y="{top:g}" width="{NODE_WIDTH:g}" height="{NODE_HEIGHT:g}"'
        f' rx="{radius}"/>'
        f'<text class="name" x="{node.x:g}" y="{node.y - 8:g}" text-anchor="middle"{_fit(name)}>{escape(name)}</text>'
        f'<text class="words" x="{node.x:g}" y="{node.y + 10:g}" text-anchor="middle"{_fit(words, 6.0)}>'
        f"{escape(words)}</text>{_versions(node)}</g>"
    )


def _versions(node: Node) -> str:
    """A bar of the versions' shares; without traffic, of how many instances each has."""
    count = sum(len(one.workloads) for one in node.versions) or 1
    wide, left = NODE_WIDTH - 32, node.x - NODE_WIDTH / 2 + 16
    found = []
    for index, one in enumerate(node.versions):
        share = one.share if one.share is not None else len(one.workloads) / count
        found.append(
            f'<rect class="slice{index % _SLICES}" x="{left:.1f}" y="{node.y + 20:g}" width="{wide * share:.1f}"'
            f' height="5"><title>{escape(f"{printable(one.name)}: {share:.0%}")}</title></rect>'
        )
        left += wide * share
    return "".join(found)


def _link(link: Link, caller: Node, callee: Node) -> str:
    path, (x, y), (x2, y2) = _curve(caller, callee)
    width = min(_WIDEST, 1.2 + 1.6 * math.log10(1 + link.requests_per_second))
    classes = f"{health_of(link.success_rate)}{' intent' if link.intent else ''}"
    told = [
        f"{printable(caller.id)} to {printable(callee.id)}",
        link_words(link),
        security_words(link),
        *weight_words(link),
    ]
    head = f"M{x2 + 8:g},{y2:g} l-9,-5 v10 z"
    return (
        f'<g class="{classes}"><title>{escape("; ".join(part for part in told if part))}</title>'
        f'<path class="link" d={quoteattr(path)} stroke-width="{width:.1f}"/><path class="head" d={quoteattr(head)}/>'
        f'<text class="label" x="{x:g}" y="{y - 6:g}" text-anchor="middle">{escape(link_words(link))}</text>'
        f"{_lock(x, y) if link.mtls else ''}{_weights(link, x, y)}</g>"
    )


def _curve(caller: Node, callee: Node) -> tuple[str, tuple[float, float], tuple[float, float]]:
    """The path of an edge, the place for its words and its end. One that goes over a column and would run through the
    nodes there makes a bow under them, and has its words near its beginning."""
    x1, y1, x2, y2 = caller.x + NODE_WIDTH / 2, caller.y, callee.x - NODE_WIDTH / 2 - 8, callee.y
    if caller is callee:
        x1, x2, y1, y2 = caller.x + 20, caller.x - 20, caller.y - NODE_HEIGHT / 2, caller.y - NODE_HEIGHT / 2 - 8
        return f"M{x1:g},{y1:g} C{x1 + 20:g},{y1 - 40:g} {x2 - 20:g},{y2 - 32:g} {x2:g},{y2:g}", (x1, y1 - 24), (x2, y2)
    bend = max(48.0, abs(x2 - x1) / 2)
    bow = 0.8 * ROW_STEP if abs(callee.column - caller.column) > 1 and abs(y2 - y1) < ROW_STEP else 0.0
    path = f"M{x1:g},{y1:g} C{x1 + bend:g},{y1 + bow:g} {x2 - bend:g},{y2 + bow:g} {x2:g},{y2:g}"
    at = 0.5 if abs(callee.column - caller.column) <= 1 else 0.2
    steps = ((1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3)
    x = sum(step * one for step, one in zip(steps, (x1, x1 + bend, x2 - bend, x2), strict=True))
    y = sum(step * one for step, one in zip(steps, (y1, y1 + bow, y2 + bow, y2), strict=True))
    return path, (round(x, 1), round(y, 1)), (x2, y2)


def _weights(link: Link, x: float, y: float) -> str:
    words = short_weight_words(link)[:_SLICES]
    return "".join(
        f'<text class="label" x="{x:g}" y="{y + 26 + 13 * index:g}" text-anchor="middle">{escape(one)}</text>'
        for index, one in enumerate(words)
    )


def _lock(x: float, y: float) -> str:
    return (
        f'<g class="lock"><path d="M{x - 2.5:g},{y + 6:g} v-2 a2.5,2.5 0 0 1 5,0 v2"/>'
        f'<rect class="body" x="{x - 4:g}" y="{y + 6:g}" width="8" height="6" rx="1"/></g>'
    )


def _fit(text: str, letter: float = 7.5) -> str:
    """Long texts are squeezed into the node."""
    room = NODE_WIDTH - 16
    return f' textLength="{room:g}" lengthAdjust="spacingAndGlyphs"' if len(text) * letter > room else ""
