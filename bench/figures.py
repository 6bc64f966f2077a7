"""Median and range of repeated measurements, and ratios between two arms of the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """Repeated values of one figure."""

    median: float
    lowest: float
    highest: float


def series(values: Sequence[float]) -> Series:
    """Median and range."""
    return Series(statistics.median(values), min(values), max(values))


def ratio(pairs: Sequence[tuple[float, float]]) -> Series:
    """Median and range of first ÷ second, each pair from one round."""
    return series([first / second for first, second in pairs])


def tail(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
