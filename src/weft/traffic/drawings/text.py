"""The graph as text: each caller with those it calls."""

from __future__ import annotations

from collections.abc import Callable

from weft.traffic.drawings.words import (
    health_of,
    link_words,
    node_name,
    node_words,
    security_words,
    weight_words,
)
from weft.traffic.graph import Graph, Link, Node

Style = Callable[[str, str], str]
"""Gives a text the look of a meaning: good, warning, error, soft."""
_MEANINGS = {"good": "good", "poor": "warning", "bad": "error", "none": "soft"}


def _plain(text: str, _meaning: str) -> str:
    return text


def draw_text(graph: Graph, style: Style = _plain) -> str:
    """Lines for a terminal; callers before callees, those without calls last."""
    links: dict[str, list[Link]] = {}
    for link in graph.edges:
        links.setdefault(link.caller, []).append(link)
    names = {node.id: node_name(node, graph) for node in graph.nodes}
    called = {link.callee for link in graph.edges}
    lines: list[str] = []
    order = sorted(graph.nodes, key=lambda node: (node.column, node.y, node.id))
    for node in order:
        if node.id in links:
            lines.append(_node_line(node, names[node.id], style))
            lines += _link_lines(links[node.id], names, style)
    quiet = [names[node.id] for node in order if node.id not in links and node.id not in called]
    if quiet:
        lines.append(style(f"no calls: {', '.join(sorted(quiet))}", "soft"))
    return "\n".join(lines)


def _node_line(node: Node, name: str, style: Style) -> str:
    kind = "" if node.kind == "service" else f" ({node.kind})"
    parts = [name + kind, style(node_words(node), _MEANINGS[health_of(node.success_rate)])]
    if node.problems:
        parts.append(style(f"{node.problems} problem{'s' if node.problems > 1 else ''}", "warning"))
    return "  ".join(part for part in parts if part)


def _link_lines(links: list[Link], names: dict[str, str], style: Style) -> list[str]:
    widest = max(len(names[link.callee]) for link in links)
    lines = []
    for index, link in enumerate(sorted(links, key=lambda link: (-link.requests, link.callee))):
        last = index == len(links) - 1
        arrow = ("└" if last else "├") + ("╌╌▷ " if link.intent else "──▶ ")
        numbers = style(link_words(link), _MEANINGS[health_of(link.success_rate)])
        security = security_words(link)
        security = style(security, "good" if link.mtls else "warning") if security else ""
        parts = (names[link.callee].ljust(widest), numbers, security)
        lines.append(f"  {arrow}" + "  ".join(part for part in parts if part))
        lines += [f"  {' ' if last else '│'}      {words}" for words in weight_words(link)]
    return lines
