"""Counters, gauges and histograms, and the text that Prometheus reads of them."""

from __future__ import annotations

import subprocess

from weft.telemetry.metrics import MOST_SERIES, OTHER, Registry, gauge, text_of


def test_the_text_of_every_kind() -> None:
    registry = Registry()
    pushes = registry.counter("weft_pushes_total", "Responses sent.", "type")
    took = registry.histogram("weft_build_seconds", "Time of a build.", bounds=(0.1, 1.0))
    registry.counter("weft_nothing_total", "Never happened.")
    registry.read(lambda: [gauge("weft_up", "One.", 1), gauge("weft_odd", "Of\nlines.", {('a"\\\n',): 2.5}, "name")])
    pushes.add("Listener")
    pushes.add("Cluster", amount=2)
    for seconds in (0.05, 0.1, 0.5, 7):
        took.observe(seconds)
    assert text_of(registry.families()).splitlines() == [
        "# HELP weft_pushes_total Responses sent.",
        "# TYPE weft_pushes_total counter",
        'weft_pushes_total{type="Cluster"} 2',
        'weft_pushes_total{type="Listener"} 1',
        "# HELP weft_build_seconds Time of a build.",
        "# TYPE weft_build_seconds histogram",
        'weft_build_seconds_bucket{le="0.1"} 2',
        'weft_build_seconds_bucket{le="1"} 3',
        'weft_build_seconds_bucket{le="+Inf"} 4',
        "weft_build_seconds_sum 7.65",
        "weft_build_seconds_count 4",
        "# HELP weft_nothing_total Never happened.",
        "# TYPE weft_nothing_total counter",
        "weft_nothing_total 0",
        "# HELP weft_up One.",
        "# TYPE weft_up gauge",
        "weft_up 1",
        "# HELP weft_odd Of\\nlines.",
        "# TYPE weft_odd gauge",
        'weft_odd{name="a\\"\\\\\\n"} 2.5',
    ]


def test_a_metric_has_so_many_series_and_no_more() -> None:
    registry = Registry()
    counter, histogram = registry.counter("c_total", "C.", "what"), registry.histogram("h", "H.", "what")
    for number in range(MOST_SERIES + 50):
        counter.add(str(number))
        histogram.observe(1.0, str(number))
    assert counter.value(OTHER) == 50
    assert histogram.count(OTHER) == 50
    assert len(counter.family().samples) == MOST_SERIES + 1


def test_prometheus_own_linter_finds_nothing() -> None:
    registry = Registry()
    registry.counter("weft_pushes_total", "Responses.", "type").add('x"y')
    registry.histogram("weft_build_seconds", "Builds.").observe(0.2)
    registry.read(lambda: [gauge("weft_streams", "Streams.", 3)])
    text = text_of(registry.families())
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
