"""Families of metrics, as Prometheus knows them, before they are written in one of its formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.model.series import Bins

Kind = Literal["counter", "gauge", "histogram", "unknown"]
Labels = tuple[tuple[str, str], ...]
BUCKETS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
    3_600_000,
)  # fmt: skip
"""Upper bounds of classic buckets: Envoy's own, which Istio's dashboards expect."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, or for a histogram its sketch."""

    labels: Labels
    value: float = 0.0
    bins: Bins = ()


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name. A counter's name ends with ``_total``."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def family(name: str, kind: Kind, text: str, value: float) -> Family:
    """A family of one sample without labels."""
    return Family(name, kind, text, (Sample((), value),))


def classic_buckets(bins: Bins) -> list[int]:
    """How many values are at most as large as each of BUCKETS. A bin counts where its lower bound does."""
    counts, total, at = [], 0, 0
    for bound in BUCKETS:
        while at < len(bins) and bins[at][0] < bound:
            total += bins[at][2]
            at += 1
        counts.append(total)
    return counts
