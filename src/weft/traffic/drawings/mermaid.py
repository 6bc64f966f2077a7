"""The graph as a Mermaid flowchart, for Markdown pages."""

from __future__ import annotations

from weft.traffic.drawings.words import health_of, link_words, node_name, node_words, security_words
from weft.traffic.graph import Graph, Link

_SHAPES = {"gateway": ('{{"', '"}}'), "workload": ('(["', '"])'), "outside": ('>"', '"]'), "namespace": ('[["', '"]]')}
_SERVICE = ('["', '"]')
_STROKES = {"poor": "stroke:#b45309", "bad": "stroke:#b91c1c"}


def draw_mermaid(graph: Graph) -> str:
    """A flowchart from left to right. A dotted edge is a rule's intent; a coloured one has errors."""
    ids = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        before, after = _SHAPES.get(node.kind, _SERVICE)
        words = "<br/>".join(_escaped(part) for part in (node_name(node, graph), node_words(node)) if part)
        lines.append(f"  {ids[node.id]}{before}{words}{after}")
    for link in graph.edges:
        arrow = "-.->" if link.intent else "-->"
        lines.append(f'  {ids[link.caller]} {arrow}|"{_escaped(_words(link))}"| {ids[link.callee]}')
    for index, link in enumerate(graph.edges):
        if stroke := _STROKES.get(health_of(link.success_rate)):
            lines.append(f"  linkStyle {index} {stroke}")
    return "\n".join(lines)


def _words(link: Link) -> str:
    return " ".join(part for part in (link_words(link), security_words(link)) if part)


def _escaped(text: str) -> str:
    """Every character that Mermaid or the page behind it could take for its own becomes a numeric entity."""
    return "".join(letter if letter.isalnum() or letter in " .-_/:%," else f"#{ord(letter)};" for letter in text)
