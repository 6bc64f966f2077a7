"""The graph drawn: the same words in every form, and nothing of a name becomes part of the form."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

from weft.traffic.drawings.dot import draw_dot
from weft.traffic.drawings.mermaid import draw_mermaid
from weft.traffic.drawings.svg import draw_svg
from weft.traffic.drawings.text import draw_text
from weft.traffic.drawings.words import latency_words, percent_words, rate_words
from weft.traffic.graph import Graph

HOSTILE = '<script>alert(1)</script>"]; \\" -->|x| \x1b[31m\u202e{{\n'


def a_node(name: str, column: int = 0, y: float = 0.0, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": "service", "name": name, "namespace": "default", "versions": [], "problems": 0}
    rates = {"requests_per_second": 2.0, "success_rate": 1.0, "p99_ms": 12.0}
    return {"id": f"default/{name}", "column": column, "x": column * 200.0, "y": y} | fields | rates | more


def a_link(caller: str, callee: str, **more: Any) -> dict[str, Any]:
    rates: dict[str, Any] = {"requests": 120, "requests_per_second": 2.0, "success_rate": 1.0}
    rates |= {"p50_ms": 3.0, "p95_ms": 9.0, "p99_ms": 12.0, "codes": {}, "flags": {}}
    rates |= {"bytes_sent": 0, "bytes_received": 0, "connections_opened": 0, "connections_closed": 0}
    ends = {"from": f"default/{caller}", "to": f"default/{callee}", "ports": [9080], "protocols": ["http"]}
    return ends | rates | {"mtls": True, "intent": False, "weights": []} | more


def a_graph(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> Graph:
    value = {"seconds": 60.0, "complete": True, "nodes": nodes, "edges": edges, "width": 900.0, "height": 400.0}
    return msgspec.convert(value, Graph)


BOOKINFO = a_graph(
    [
        a_node("edge", kind="gateway"),
        a_node("page", 1),
        a_node(
            "reviews",
            2,
            success_rate=0.9,
            problems=1,
            versions=[{"name": "v1", "share": 0.75, "workloads": []}, {"name": "v2", "share": 0.25, "workloads": []}],
        ),
        a_node("ratings", 3, success_rate=None, p99_ms=None),
        a_node("alone", success_rate=None, p99_ms=None),
    ],
    [
        a_link("edge", "page", mtls=False),
        a_link(
            "page",
            "reviews",
            success_rate=0.9,
            weights=[
                {"to": "default/reviews v1", "asked": 0.8, "seen": 0.75, "rule": "VirtualService default/reviews"},
                {"to": "default/reviews v2", "asked": 0.2, "seen": 0.25, "rule": "VirtualService default/reviews"},
            ],
        ),
        a_link("reviews", "ratings", requests=0, success_rate=None, intent=True, mtls=None),
    ],
)


def test_text_shows_callers_with_their_callees_and_who_is_alone() -> None:
    assert draw_text(BOOKINFO).splitlines() == [
        "edge (gateway)  2.0/s 100% p99 12ms",
        "  └──▶ page  2.0/s 100% 12ms  plaintext",
        "page  2.0/s 100% p99 12ms",
        "  └──▶ reviews  2.0/s 90% 12ms  mTLS",
        "         default/reviews v1: asked 80%, seen 75%",
        "         default/reviews v2: asked 20%, seen 25%",
        "reviews  2.0/s 90% p99 12ms  1 problem",
        "  └╌╌▷ ratings  no traffic",
        "no calls: alone",
    ]


def test_mermaid_tells_intent_and_errors_apart() -> None:
    lines = draw_mermaid(BOOKINFO).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0{{"edge<br/>2.0/s 100% p99 12ms"}}' in lines
    assert '  n2 -.->|"no traffic"| n3' in lines
    assert [line for line in lines if "linkStyle" in line] == ["  linkStyle 1 stroke:#b91c1c"]


def test_dot_is_a_graph_with_widths() -> None:
    text = draw_dot(BOOKINFO)
    assert text.startswith("digraph mesh {")
    assert "style=dashed, color=gray60, penwidth=1.5" in text
    assert 'label="2.0/s 90% 12ms\\nmTLS\\ndefault/reviews v1: asked 80%, seen 75%' in text


def test_svg_stands_alone() -> None:
    text = draw_svg(BOOKINFO)
    root = ET.fromstring(text)
    assert root.get("viewBox") == "0 0 900 400"
    assert {one.tag.rpartition("}")[2] for one in root.iter()} == {"svg", "title", "style", "g", "rect", "text", "path"}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count('class="lock"') == 1
    assert text.count(" intent") == 1
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("draw", [draw_text, draw_mermaid, draw_dot, draw_svg])
def test_a_hostile_name_stays_a_name(draw: Any) -> None:
    text = draw(a_graph([a_node(HOSTILE), a_node("b", 1)], [a_link(HOSTILE, "b")]))
    assert "\x1b" not in text
    assert "\u202e" not in text
    if draw is draw_svg:
        root = ET.fromstring(text)
        assert not [one for one in root.iter() if "script" in one.tag]
    if draw is draw_mermaid:
        assert "<script>" not in text
        assert all(line.count('"') % 2 == 0 for line in text.splitlines())
    if draw is draw_dot:
        bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', "TEXT", text)
        assert '"' not in bare
        assert "script" not in bare


def test_numbers_read_well() -> None:
    assert [rate_words(one) for one in (0.0, 0.0123, 0.5, 9.96, 1234.4)] == [
        "0/s",
        "0.012/s",
        "0.5/s",
        "10.0/s",
        "1234/s",
    ]
    assert [percent_words(one) for one in (None, 1.0, 0.99999, 0.5, 0.0)] == ["-", "100%", "99.9%", "50%", "0%"]
    assert [latency_words(one) for one in (None, 0.5, 12.3, 2345.0)] == ["-", "0.5ms", "12ms", "2.3s"]
