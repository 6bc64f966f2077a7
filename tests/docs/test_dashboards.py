"""Grafana's dashboards: plain files that need nothing but a data source."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

BOARDS = sorted((Path(__file__).parents[2] / "examples" / "observability" / "grafana").glob("*.json"))
_BUILT_IN = {"__rate_interval"}


def overlaps(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@pytest.mark.parametrize("path", BOARDS, ids=[path.name for path in BOARDS])
def test_a_dashboard_can_be_imported_as_it_is(path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())
    variables = {one["name"] for one in board["templating"]["list"]}
    assert "datasource" in variables
    assert "__inputs" not in board
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations(panels, 2):
        assert not overlaps(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= variables | _BUILT_IN, target["expr"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_each_has_a_name_of_its_own() -> None:
    boards = [json.loads(path.read_text()) for path in BOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) == 5
    assert len({board["title"] for board in boards}) == 5
