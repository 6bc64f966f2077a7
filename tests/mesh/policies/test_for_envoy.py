"""Signals as earlier Envoys understand them."""

from __future__ import annotations

import pytest

from weft.mesh.signals import SILENT, STANDARD, for_envoy


@pytest.mark.parametrize(
    ("version", "bounded"), [("", True), ("1.40.0", True), ("1.39.3", True), ("1.38.9", False), ("0.99.1", False)]
)
def test_series_are_bounded_where_envoy_can(version: str, bounded: bool) -> None:
    found = for_envoy(STANDARD, version)
    assert found.metrics is not None
    assert found.metrics.bounded is bounded
    if bounded:
        assert found is STANDARD


def test_what_says_nothing_goes_on_saying_nothing() -> None:
    assert for_envoy(SILENT, "1.38.0") is SILENT
