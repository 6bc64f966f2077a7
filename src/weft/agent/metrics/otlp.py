"""The families in OpenTelemetry's protocol: the protobuf message of an OTLP metrics export.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/ says what the parts mean. They are written by hand, as
Prometheus' own format is: the classes that come with Envoy's are older than exponential histograms. Counters are
cumulative, with the start left open, since Envoy, the agent and the application began at different times; histograms
are exponential, made from the same bins as Prometheus' native ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft import __version__
from weft.agent.metrics.families import Family, Labels, Sample
from weft.agent.metrics.protobuf import SCHEMA, ZERO_THRESHOLD, native_buckets
from weft.agent.metrics.wire import double, fixed64, integer, message, text, varint, zigzag
from weft.model.series import Peer, bins_count, bins_sum

_CUMULATIVE = 2
_GAUGE, _SUM, _EXPONENTIAL = 5, 7, 10
"""Fields of a Metric."""
_UNITS = {"_milliseconds": "ms", "_bytes": "By", "_seconds": "s"}


def otlp_of(families: Iterable[Family], own: Peer, now: int) -> bytes:
    """An export of the families of the workload `own`, at `now` (nanoseconds since the epoch)."""
    attributes = (
        ("service.name", own.service),
        ("service.namespace", own.namespace),
        ("service.version", own.revision),
        ("service.instance.id", f"{own.workload}.{own.namespace}"),
    )
    scope = text(1, "weft") + text(2, __version__)
    metrics = b"".join(message(2, _metric(one, now)) for one in families if one.samples)
    resource = message(1, _attributes(1, attributes))
    return message(1, resource + message(2, message(1, scope) + metrics))


def _metric(one: Family, now: int) -> bytes:
    unit = next((unit for ending, unit in _UNITS.items() if one.name.removesuffix("_total").endswith(ending)), "")
    head = text(1, one.name) + text(2, one.help) + text(3, unit)
    if one.kind == "histogram":
        points = b"".join(message(1, _histogram(sample, now)) for sample in one.samples)
        return head + message(_EXPONENTIAL, points + integer(2, _CUMULATIVE))
    points = b"".join(message(1, _number(sample, now)) for sample in one.samples)
    if one.kind == "counter":
        return head + message(_SUM, points + integer(2, _CUMULATIVE) + integer(3, 1))
    return head + message(_GAUGE, points)


def _number(sample: Sample, now: int) -> bytes:
    return fixed64(3, now) + double(4, sample.value) + _attributes(7, sample.labels)


def _histogram(sample: Sample, now: int) -> bytes:
    """A bucket of OTLP ends where Prometheus' bucket with an index one higher does."""
    zeros, buckets = native_buckets(sample.bins)
    first = buckets[0][0] if buckets else 1
    counts = b"".join(varint(count) for count in _dense(buckets))
    return (
        _attributes(1, sample.labels)
        + fixed64(3, now)
        + fixed64(4, bins_count(sample.bins))
        + double(5, bins_sum(sample.bins))
        + integer(6, zigzag(SCHEMA))
        + fixed64(7, zeros)
        + message(8, integer(1, zigzag(first - 1)) + message(2, counts))
        + double(14, ZERO_THRESHOLD)
    )


def _dense(buckets: list[tuple[int, int]]) -> Iterator[int]:
    """The counts of all buckets from the first to the last."""
    at = buckets[0][0] if buckets else 0
    for index, count in buckets:
        yield from (0 for _ in range(index - at))
        yield count
        at = index + 1


def _attributes(field: int, labels: Labels) -> bytes:
    return b"".join(message(field, text(1, name) + message(2, text(1, value))) for name, value in labels)
