"""Prometheus' text formats: 0.0.4, and OpenMetrics 1.0.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.agent.metrics.families import BUCKETS, Family, Labels, Sample, classic_buckets
from weft.model.series import bins_count, bins_sum

_TOTAL = "_total"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def text_of(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The families as text."""
    lines: list[str] = []
    for one in families:
        kind, name = one.kind, one.name
        if openmetrics and kind == "counter" and not name.endswith(_TOTAL):
            kind = "unknown"  # this format knows no other counters
        if openmetrics and kind == "counter":
            name = name.removesuffix(_TOTAL)
        kind_word = "untyped" if kind == "unknown" and not openmetrics else kind
        escapes = _ESCAPES if openmetrics else _HELP_ESCAPES
        if one.help:
            lines.append(f"# HELP {name} {one.help.translate(escapes)}")
        lines.append(f"# TYPE {name} {kind_word}")
        for sample in one.samples:
            if kind == "histogram":
                lines += _histogram(name, sample)
            else:
                lines.append(_line(one.name, sample.labels, sample.value))
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, sample: Sample) -> Iterator[str]:
    for bound, count in zip(BUCKETS, classic_buckets(sample.bins), strict=True):
        yield _line(f"{name}_bucket", (*sample.labels, ("le", _number(bound))), count)
    count = bins_count(sample.bins)
    yield _line(f"{name}_bucket", (*sample.labels, ("le", "+Inf")), count)
    yield _line(f"{name}_sum", sample.labels, bins_sum(sample.bins))
    yield _line(f"{name}_count", sample.labels, count)


def _line(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {_number(value)}"
    told = ",".join([f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels])
    return f"{name}{{{told}}} {_number(value)}"


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - not a number
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
