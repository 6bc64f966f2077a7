"""The graph in Graphviz' DOT."""

from __future__ import annotations

import math

from weft.traffic.drawings.words import (
    health_of,
    link_words,
    node_name,
    node_words,
    security_words,
    weight_words,
)
from weft.traffic.graph import Graph, Link

_SHAPES = {"gateway": "hexagon", "workload": "ellipse", "outside": "cds", "namespace": "folder"}
_COLOURS = {"good": "gray40", "none": "gray60", "poor": "darkorange3", "bad": "red3"}


def draw_dot(graph: Graph) -> str:
    """A directed graph from left to right. A dashed edge is a rule's intent, a wide one has a high rate."""
    lines = ["digraph mesh {", "  rankdir=LR;", '  node [fontname="sans-serif"]; edge [fontname="sans-serif"];']
    ids = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        label = "\n".join(part for part in (node_name(node, graph), node_words(node)) if part)
        shape = _SHAPES.get(node.kind, "box")
        lines.append(f"  {ids[node.id]} [label={_quoted(label)}, shape={shape}];")
    for link in graph.edges:
        lines.append(f"  {ids[link.caller]} -> {ids[link.callee]} [{_attributes(link)}];")
    return "\n".join([*lines, "}"])


def _attributes(link: Link) -> str:
    label = "\n".join(part for part in (link_words(link), security_words(link), *weight_words(link)) if part)
    width = 1 + math.log10(1 + link.requests_per_second)
    found = {
        "label": _quoted(label),
        "style": "dashed" if link.intent else "solid",
        "color": _COLOURS[health_of(link.success_rate)],
        "penwidth": f"{width:.1f}",
    }
    return ", ".join(f"{name}={value}" for name, value in found.items())


def _quoted(text: str) -> str:
    """A quoted string; a backslash would begin an escape of DOT's own."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
