"""What is written at nodes and edges of a drawn graph: the same words in every form."""

from __future__ import annotations

from typing import Literal

from weft.model.printable import printable
from weft.traffic.graph import Graph, Link, Node

Health = Literal["good", "poor", "bad", "none"]
POOR, BAD = 0.001, 0.05
"""Shares of errors from which an edge is told apart: below the first, colour says nothing."""
LONGEST = 60


def health_of(success_rate: float | None) -> Health:
    """How a success rate looks; ``none`` without requests."""
    if success_rate is None:
        return "none"
    errors = 1.0 - success_rate
    return "bad" if errors >= BAD else "poor" if errors >= POOR else "good"


def node_name(node: Node, graph: Graph) -> str:
    """The short name where all nodes are of one namespace, else with its own."""
    several = len({one.namespace for one in graph.nodes if one.namespace}) > 1
    plain = not several or not node.namespace or node.kind == "namespace"
    return printable(node.name if plain else f"{node.namespace}/{node.name}", LONGEST)


def rate_words(rate: float) -> str:
    """Requests per second, with about two digits."""
    if rate >= 10 or rate == 0:
        return f"{rate:.0f}/s"
    return f"{rate:.1f}/s" if rate >= 0.1 else f"{rate:.2g}/s"


def percent_words(share: float | None) -> str:
    """A share in percent, never rounded up to 100 %."""
    if share is None:
        return "-"
    return f"{int(share * 1000 + 1e-9) / 10:g}%"


def latency_words(milliseconds: float | None) -> str:
    """A latency with its unit."""
    if milliseconds is None:
        return "-"
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f}s"
    return f"{milliseconds:.0f}ms" if milliseconds >= 10 else f"{milliseconds:.1f}ms"


def node_words(node: Node) -> str:
    """The numbers of a node on one line; nothing for one without traffic."""
    if node.success_rate is None:
        return ""
    parts = [rate_words(node.requests_per_second), percent_words(node.success_rate)]
    return " ".join([*parts, *([f"p99 {latency_words(node.p99_ms)}"] if node.p99_ms is not None else [])])


def link_words(link: Link) -> str:
    """The numbers of an edge on one line."""
    if link.intent:
        return "no traffic"
    if not link.requests:
        return f"{link.connections_opened} connections"
    parts = [rate_words(link.requests_per_second), percent_words(link.success_rate)]
    return " ".join([*parts, *([latency_words(link.p99_ms)] if link.p99_ms is not None else [])])


def security_words(link: Link) -> str:
    """What protects an edge."""
    return {True: "mTLS", False: "plaintext", None: ""}[link.mtls]


def weight_words(link: Link) -> list[str]:
    """How a rule divides the calls and how they were, a line for each part."""
    return [
        f"{printable(one.to, LONGEST)}: asked {percent_words(one.asked)}, seen {percent_words(one.seen)}"
        for one in link.weights
    ]


def short_weight_words(link: Link) -> list[str]:
    """As `weight_words`, with the last part of each name only, where there is little room."""
    return [
        f"{printable(one.to.replace('/', ' ').rpartition(' ')[2], 12)} {percent_words(one.asked)}, "
        f"seen {percent_words(one.seen)}"
        for one in link.weights
    ]
