"""The benchmark of leases with few registrations: every figure is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.machine import Cores  # noqa: E402

from bench import leases  # noqa: E402


def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "COUNTS", (60,))
    monkeypatch.setattr(leases, "CONNECTED", 10)
    monkeypatch.setattr(leases, "collect_seldom", lambda: None)
    figures = leases.measure_leases(tmp_path, Cores(-1, -1), quick=True)
    ((name, one),) = figures.items()
    assert name == "60 registrations"
    assert isinstance(one, dict)
    assert {"registration_ms", "change_until_snapshot_cpu_ms", "end_of_1000_leases_ms"} <= one.keys()
    assert all(value >= 0 for value in one.values())
