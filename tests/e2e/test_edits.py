"""A day of edits in seconds: whatever is edited, no request fails, the last state is soon in force, nothing is left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.edits import Day, live  # noqa: E402


def test_a_day_of_edits_costs_no_request_and_leaves_nothing(tmp_path: Path) -> None:
    day = Day(services=100, edits=60, pace=8.0, rate=50.0, pause=1.5)
    figures: dict[str, Any] = live(tmp_path, day)
    assert figures["requests_failed"] == 0, figures["failures"]
    assert figures["requests"] > 300
    assert figures["edits"] == 60
    assert figures["left"] == {}
    for name, memory in figures["memory_mb"].items():
        assert memory["after"] < memory["before"] + 20, (name, memory)
