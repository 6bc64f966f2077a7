"""Latencies as counts in bins: merged by adding, read as percentiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

Bins = tuple[tuple[float, float, int], ...]
"""Lower bound and width in milliseconds, and how many requests took that long; sorted by lower bound."""


def merge_bins(parts: Iterable[Bins]) -> Bins:
    """The sum of several; bins of the same bounds become one."""
    given = [part for part in parts if part]
    if len(given) <= 1:
        return given[0] if given else ()
    counts: defaultdict[tuple[float, float], int] = defaultdict(int)
    for part in given:
        for lower, width, count in part:
            counts[lower, width] += count
    return tuple([(lower, width, counts[lower, width]) for lower, width in sorted(counts)])


def percentile(bins: Bins, share: float) -> float | None:
    """The latency in milliseconds that `share` (0 to 1) of the requests did not exceed; None without requests.

    Within a bin the requests are taken as spread evenly, as Envoy and Prometheus do.
    """
    return percentiles(bins, (share,))[0]


def percentiles(bins: Bins, shares: Sequence[float]) -> tuple[float | None, ...]:
    """As `percentile`, for several shares in rising order."""
    total = sum([count for _, _, count in bins])
    if not total:
        return (None,) * len(shares)
    found: list[float | None] = []
    wanted, seen = [share * total for share in shares], 0
    for lower, width, count in bins:
        while count and len(found) < len(wanted) and seen + count >= wanted[len(found)]:
            found.append(lower + width * max(0.0, wanted[len(found)] - seen) / count)
        seen += count
    end = bins[-1][0] + bins[-1][1]
    return (*found, *[end] * (len(wanted) - len(found)))
