"""The grid of latencies: bins whose ends lie so close that the middle of one is at most 5 % away from all in it.

Each is a union of Envoy's own bins, which have two digits, so that putting these into it loses nothing more.
https://github.com/openhistogram/libcircllhist
"""

from __future__ import annotations

from bisect import bisect_right

RELATIVE_ERROR = 0.05
_DECADES = 8


def _decade() -> tuple[int, ...]:
    """The first digits, times ten, at which a bin begins: from 10 to below 100."""
    found, widest = [10], (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
    while found[-1] < 100:
        step = max(1, int(found[-1] * widest + 1e-9) - found[-1])
        found.append(min(100, found[-1] + step))
    return tuple(found[:-1])


_STARTS = _decade()
BOUNDS: tuple[float, ...] = (
    0.0,
    *(start * 10.0**exponent / 10.0 for exponent in range(_DECADES) for start in _STARTS),
    10.0**_DECADES,
)
"""Where the bins begin, in milliseconds; the first has all below 1, the last all from a day on."""
BINS = len(BOUNDS)


def bin_of(milliseconds: float) -> int:
    """The bin that has this latency."""
    return max(0, bisect_right(BOUNDS, milliseconds) - 1)


def bounds_of(number: int) -> tuple[float, float]:
    """Lower bound and width of a bin."""
    lower = BOUNDS[number]
    return lower, (BOUNDS[number + 1] - lower if number + 1 < BINS else 0.0)
