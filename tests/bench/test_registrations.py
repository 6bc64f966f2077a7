"""The registrations section of the benchmark, with few of them: every figure is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.machine import Cores  # noqa: E402

from bench import registrations  # noqa: E402


def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "COUNTS", (60,))
    monkeypatch.setattr(registrations, "CONNECTED", 10)
    monkeypatch.setattr(registrations, "REST_SECONDS", 0.2)
    monkeypatch.setattr(registrations, "collect_seldom", lambda: None)
    figures = registrations.measure_registrations(tmp_path, Cores(-1, -1), quick=True)
    ((name, one),) = figures.items()
    assert name == "60 registrations"
    assert isinstance(one, dict)
    assert {"registration_ms", "renewal_ms", "change_until_snapshot_cpu_ms", "at_rest_percent_of_a_core"} <= one.keys()
    assert all(value >= 0 for value in one.values())
