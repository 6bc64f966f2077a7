"""What signals cost: the documents of the arms say what their names say, and the ratios are to the silent pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.signals import AGAIN, ARMS, SILENT, Turn, cpu_ratios, documents, in_quiet_moments  # noqa: E402

from support.meshdocs import Compiled, workload  # noqa: E402


def test_each_arm_says_what_its_name_says() -> None:
    mesh = Compiled(documents(4317))
    assert mesh.mesh.problems == ()
    for number, name in enumerate(ARMS):
        for side in ("caller", "echo"):
            view = mesh.sidecar(workload(f"{side}-{number}"))
            for signals in (view.outgoing, view.incoming):
                assert (signals.metrics is not None) is ("metrics" in name)
                assert len(signals.logs) == ("log" in name)
                assert (signals.tracing is not None) is ("traces" in name)


def test_ratios_are_to_the_mean_of_the_silent_pairs() -> None:
    turns = {name: [Turn(cpu, 0.0, 0.0) for cpu in (110.0, 220.0, 110.0)] for name in ARMS}
    turns[SILENT] = [Turn(cpu, 0.0, 0.0) for cpu in (90.0, 180.0, 90.0)]
    turns[AGAIN] = [Turn(cpu, 0.0, 0.0) for cpu in (110.0, 220.0, 110.0)]
    ratios, quiet = cpu_ratios(turns), in_quiet_moments(turns)
    assert set(ratios) == set(quiet) == set(ARMS) - {SILENT}
    assert ratios["metrics"].median == quiet["metrics"] == pytest.approx(1.1)
    assert ratios[AGAIN].median == quiet[AGAIN] == pytest.approx(110 / 90)
