"""Prometheus' protobuf format, the one that carries native histograms: delimited io.prometheus.client.MetricFamily.

https://prometheus.io/docs/specs/native_histograms/ says what the buckets mean. The messages are few and their fields
never change, so they are written by hand: no package that we have carries their classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from weft.agent.metrics import wire
from weft.agent.metrics.families import BUCKETS, Family, Labels, Sample, classic_buckets
from weft.model.series import Bins, bins_count, bins_sum

_KINDS = {"counter": 0, "gauge": 1, "unknown": 3, "histogram": 4}
_VALUE_FIELDS = {"counter": 3, "gauge": 2, "unknown": 5}
SCHEMA = 3
"""Each bucket ends 2^(1/8) = 1.09 times as high as the one before: about as fine as Envoy's own bins."""
ZERO_THRESHOLD = 1e-9
_TOTAL = "_total"


def protobuf_of(families: Iterable[Family]) -> bytes:
    """The families, each with its length in front."""
    body = bytearray()
    for one in families:
        message = wire.text(1, one.name) + wire.text(2, one.help) + wire.integer(3, _KINDS[one.kind])
        message += b"".join(wire.message(4, _metric(one, sample)) for sample in one.samples)
        body += wire.varint(len(message)) + message
    return bytes(body)


def native_buckets(bins: Bins) -> tuple[int, list[tuple[int, int]]]:
    """How many values are zero, and how many lie in each native bucket, by its index, in order. A bin counts as a whole
    where its middle is."""
    zeros, counts = 0, dict[int, int]()
    for lower, width, count in bins:
        middle = lower + width / 2
        if middle <= ZERO_THRESHOLD:
            zeros += count
            continue
        index = math.ceil(math.log2(middle) * (1 << SCHEMA))
        counts[index] = counts.get(index, 0) + count
    return zeros, sorted(counts.items())


def _metric(one: Family, sample: Sample) -> bytes:
    body = _labels(sample.labels)
    if one.kind == "histogram":
        return body + wire.message(7, _histogram(sample.bins))
    return body + wire.message(_VALUE_FIELDS[one.kind], wire.double(1, sample.value))


def _histogram(bins: Bins) -> bytes:
    count, zeros_and_buckets = bins_count(bins), native_buckets(bins)
    body = wire.integer(1, count) + wire.double(2, bins_sum(bins))
    for bound, below in zip((*BUCKETS, math.inf), (*classic_buckets(bins), count), strict=True):
        body += wire.message(3, wire.integer(1, below) + wire.double(2, bound))
    zeros, buckets = zeros_and_buckets
    body += wire.integer(5, wire.zigzag(SCHEMA)) + wire.double(6, ZERO_THRESHOLD) + wire.integer(7, zeros)
    for offset, length in _spans([index for index, _ in buckets]):
        body += wire.message(12, wire.integer(1, wire.zigzag(offset)) + wire.integer(2, length))
    before = 0
    for _, number in buckets:
        body += wire.integer(13, wire.zigzag(number - before))
        before = number
    return body if buckets else body + wire.message(12, wire.integer(1, 0) + wire.integer(2, 0))


def _spans(indexes: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring buckets: how far each begins behind the end of the one before, and how long it is."""
    end = 0
    at = 0
    while at < len(indexes):
        start = at
        while at + 1 < len(indexes) and indexes[at + 1] == indexes[at] + 1:
            at += 1
        yield indexes[start] - end, at - start + 1
        end = indexes[at] + 1
        at += 1


def _labels(labels: Labels) -> bytes:
    return b"".join(wire.message(1, wire.text(1, name) + wire.text(2, text)) for name, text in labels)
