"""Metrics of this process: counters, gauges and histograms, and Prometheus' text of them.

An observation is an addition; everything else happens when somebody reads. The text format is version 0.0.4:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of a histogram's buckets where a time is measured."""
MOST_SERIES = 200
OTHER = "other"
"""What the labels say of all that comes after the first `MOST_SERIES` of a metric."""
Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
Sample = tuple[str, tuple[tuple[str, str], ...], float]
"""Suffix of the name, labels, value."""


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric at a moment."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


class _Metric(ABC):
    """What counters, gauges and histograms share: name, help, and the names of the labels."""

    kind: Kind

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self._text = text
        self._labels = tuple(labels)

    def family(self) -> Family:
        """Its samples now."""
        return Family(self.name, self.kind, self._text, tuple(self._samples()))

    @abstractmethod
    def _samples(self) -> Iterator[Sample]:
        """See `family`."""

    def _named(self, labels: Labels) -> tuple[tuple[str, str], ...]:
        return tuple(zip(self._labels, labels, strict=True))


class Counter(_Metric):
    """What only grows."""

    kind: Kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count `amount` for these values of the labels."""
        if labels not in self._values and len(self._values) >= MOST_SERIES:
            labels = (OTHER,) * len(self._labels)
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """What was counted for them."""
        return self._values.get(labels, 0.0)

    def _samples(self) -> Iterator[Sample]:
        for labels, value in sorted(self._values.items()):
            yield "", self._named(labels), value


class Histogram(_Metric):
    """How often values were how large; `bounds` are the upper bounds of the buckets."""

    kind: Kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS) -> None:
        super().__init__(name, text, labels)
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {} if labels else {(): [0] * (len(self._bounds) + 1)}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One value, for these values of the labels."""
        counts = self._counts.get(labels)
        if counts is None:
            if len(self._counts) >= MOST_SERIES:
                labels = (OTHER,) * len(self._labels)
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def count(self, *labels: str) -> int:
        """How many were observed for them."""
        return sum(self._counts.get(labels, ()))

    def _samples(self) -> Iterator[Sample]:
        for labels, counts in sorted(self._counts.items()):
            named, total = self._named(labels), 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                total += count
                yield "_bucket", (*named, ("le", "+Inf" if bound == float("inf") else f"{bound:g}")), total
            yield "_sum", named, self._sums.get(labels, 0.0)
            yield "_count", named, total


class Registry:
    """The metrics of a process, in the order in which they are told."""

    def __init__(self) -> None:
        self._metrics: list[_Metric] = []
        self._readers: list[Callable[[], Iterable[Family]]] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A new counter."""
        found = Counter(name, text, labels)
        self._metrics.append(found)
        return found

    def histogram(self, name: str, text: str, *labels: str, bounds: Sequence[float] = SECONDS) -> Histogram:
        """A new histogram."""
        found = Histogram(name, text, labels, bounds)
        self._metrics.append(found)
        return found

    def read(self, reader: Callable[[], Iterable[Family]]) -> None:
        """Ask `reader` whenever somebody reads: for what is known anyway and must not be counted twice."""
        self._readers.append(reader)

    def families(self) -> Iterator[Family]:
        """Everything, now."""
        for metric in self._metrics:
            yield metric.family()
        for reader in self._readers:
            yield from reader()


def gauge(name: str, text: str, value: float | Mapping[Any, float], *labels: str, kind: Kind = "gauge") -> Family:
    """A family of what is read at this moment: one value, or one for each combination of the labels' values."""
    values: Mapping[Labels, float] = value if isinstance(value, Mapping) else {(): value}
    samples = tuple(("", tuple(zip(labels, given, strict=True)), one) for given, one in sorted(values.items()))
    return Family(name, kind, text, samples)


def text_of(families: Iterable[Family]) -> str:
    """The text that Prometheus reads."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help, quotes=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(
                f"{family.name}{suffix}{{{told}}} {value:.12g}" if told else f"{family.name}{suffix} {value:.12g}"
            )
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
