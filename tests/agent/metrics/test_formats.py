"""Prometheus' formats: text, OpenMetrics, protobuf with native histograms, and which of them a client gets."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.metrics.endpoint import OPENMETRICS, PROTOBUF, TEXT, chosen_format
from weft.agent.metrics.families import Family, Sample, family
from weft.agent.metrics.protobuf import SCHEMA, native_buckets, protobuf_of
from weft.agent.metrics.text import text_of

BINS = ((0.0, 0.0, 2), (3.0, 0.1, 1), (25.0, 1.0, 4))
FAMILIES = (
    Family("a_total", "counter", 'How "many"\\.\nReally.', (Sample((("x", 'q"\\\n'), ("y", "")), 3),)),
    Family("b", "histogram", "", (Sample((("x", "1"),), bins=BINS),)),
    family("envoy_retries", "counter", "", 7),
    family("c", "unknown", "", math.inf),
)


def test_text() -> None:
    lines = text_of(FAMILIES, openmetrics=False).decode().splitlines()
    assert lines[0] == '# HELP a_total How "many"\\\\.\\nReally.'
    assert lines[1:3] == ["# TYPE a_total counter", 'a_total{x="q\\"\\\\\\n",y=""} 3']
    assert 'b_bucket{x="1",le="0.5"} 2' in lines
    assert 'b_bucket{x="1",le="5"} 3' in lines
    assert 'b_bucket{x="1",le="25"} 3' in lines
    assert 'b_bucket{x="1",le="+Inf"} 7' in lines
    assert 'b_count{x="1"} 7' in lines
    assert lines[-4:] == ["# TYPE envoy_retries counter", "envoy_retries 7", "# TYPE c untyped", "c +Inf"]


def test_openmetrics_knows_counters_by_their_ending_only() -> None:
    lines = text_of(FAMILIES, openmetrics=True).decode().splitlines()
    assert lines[0] == '# HELP a How \\"many\\"\\\\.\\nReally.'
    assert lines[1].startswith("# TYPE a counter")
    assert lines[2].startswith("a_total{")
    assert "# TYPE envoy_retries unknown" in lines
    assert lines[-1] == "# EOF"


def _fields(body: bytes) -> Iterator[tuple[int, Any]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(body):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 1:
            yield key >> 3, struct.unpack_from("<d", body, at)[0]
            at += 8
        else:
            size = varint()
            yield key >> 3, body[at : at + size]
            at += size


def test_protobuf_is_a_family_after_the_other_each_with_its_length() -> None:
    body = protobuf_of(FAMILIES)
    names = []
    while body:
        size, at = body[0], 1
        if size & 0x80:
            size, at = (size & 0x7F) | body[1] << 7, 2
        fields = dict(_fields(body[at : at + size]))
        names.append((fields[1].decode(), fields[3]))
        body = body[at + size :]
    assert names == [("a_total", 0), ("b", 4), ("envoy_retries", 0), ("c", 3)]


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def test_a_native_histogram_says_every_bucket_once() -> None:
    [one] = (protobuf_of((FAMILIES[1],))[2:],)
    metric = dict(_fields(one))[4]
    fields = list(_fields(dict(_fields(metric))[7]))
    values = dict(fields)
    assert values[1] == 7
    assert values[7] == 2
    assert _unzigzag(values[5]) == SCHEMA
    spans = [dict(_fields(span)) for number, span in fields if number == 12]
    deltas = [_unzigzag(delta) for number, delta in fields if number == 13]
    indexes: list[int] = []
    at = 0
    for span in spans:
        at += _unzigzag(span[1])
        indexes += range(at, at + span[2])
        at += span[2]
    counts, count = [], 0
    for delta in deltas:
        count += delta
        counts.append(count)
    zeros, buckets = native_buckets(BINS)
    assert zeros == 2
    assert list(zip(indexes, counts, strict=True)) == buckets


@given(st.lists(st.tuples(st.floats(0.1, 1e7), st.integers(1, 1000)), max_size=50))
def test_native_buckets_hold_every_value_near_where_it_was(found: list[tuple[float, int]]) -> None:
    bins = tuple((lower, lower / 100, count) for lower, count in sorted(found))
    zeros, buckets = native_buckets(bins)
    assert zeros == 0
    assert sum(count for _, count in buckets) == sum(count for _, _, count in bins)
    base = 2 ** (1 / (1 << SCHEMA))
    for lower, width, _ in bins:
        middle = lower + width / 2
        assert any(base ** (index - 1) * 0.999 <= middle <= base**index * 1.001 for index, _ in buckets)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        (PROTOBUF + ";q=0.7,text/plain;version=0.0.4;q=0.3", PROTOBUF),
        ("application/vnd.google.protobuf;encoding=text,text/plain;q=0.2", TEXT),
        ("text/plain;q=x", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
    ],
)
def test_a_client_gets_the_format_it_wants_most(accept: str, chosen: str) -> None:
    assert chosen_format(accept) == chosen
