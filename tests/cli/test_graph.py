"""`weft graph`: what it asks and what it prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.admin import Admin
from weft.cli.main import run

NODE = {"namespace": "default", "kind": "service", "y": 50.0, "versions": [], "problems": 0, "p99_ms": None}
RATES = {"requests": 0, "requests_per_second": 0.0, "success_rate": None, "p50_ms": None, "p95_ms": None}
COUNTS = {"p99_ms": None, "bytes_sent": 0, "bytes_received": 0, "connections_opened": 0, "connections_closed": 0}


def node(name: str, column: int) -> dict[str, Any]:
    place = {"id": f"default/{name}", "name": name, "column": column, "x": 100.0 + 300 * column}
    return NODE | place | {"requests_per_second": 0.0, "success_rate": None}


ANSWER: dict[str, Any] = {
    "from": "2026-01-01T00:00:00.000Z",
    "until": "2026-01-01T00:01:00.000Z",
    "seconds": 60.0,
    "complete": True,
    "width": 500.0,
    "height": 100.0,
    "nodes": [node("page", 0), node("reviews", 1)],
    "edges": [
        RATES
        | COUNTS
        | {"from": "default/page", "to": "default/reviews", "ports": [], "protocols": [], "codes": {}, "flags": {}}
        | {"mtls": None, "intent": True, "weights": []}
    ],
}


def test_text_is_for_people_and_says_when_there_is_no_traffic(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/graph"] = (200, ANSWER)
    assert run(["graph", "--window", "5m", "-n", "shop", "-n", "bank", "--fold", "*"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["page", "  └╌╌▷ reviews  no traffic"]
    assert "no traffic was seen in the last 300 s" in printed.err
    assert admin.asked[-1][2] == {"window": ["300"], "namespace": ["shop,bank"], "fold": ["*"]}


def test_an_empty_namespace_is_named(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/graph"] = (200, ANSWER | {"nodes": [], "edges": []})
    assert run(["graph", "-n", "nope"]) == 0
    assert "nobody calls in namespace nope" in capsys.readouterr().err
    assert run(["graph"]) == 0
    assert "apply a Service" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "begins"), [("mermaid", "flowchart LR"), ("dot", "digraph mesh {"), ("svg", "<svg ")])
def test_drawings(admin: Admin, capsys: pytest.CaptureFixture[str], form: str, begins: str) -> None:
    admin.answers["GET", "/v1/graph"] = (200, ANSWER)
    assert run(["graph", "-o", form]) == 0
    assert capsys.readouterr().out.startswith(begins)


def test_json_is_what_the_api_says(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/graph"] = (200, ANSWER)
    assert run(["graph", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWER


def test_an_empty_mesh_teaches(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/graph"] = (200, ANSWER | {"nodes": [], "edges": []})
    assert run(["graph"]) == 0
    assert "apply a Service" in capsys.readouterr().err


@pytest.mark.parametrize("window", ["0", "2d", "soon", "-1m"])
def test_a_window_is_a_time_of_at_most_a_day(admin: Admin, capsys: pytest.CaptureFixture[str], window: str) -> None:
    assert run(["graph", f"--window={window}"]) == 2
    assert "expected 1s to 1d" in capsys.readouterr().err
