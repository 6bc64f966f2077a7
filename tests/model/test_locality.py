"""Localities: how they are written, and what labels say of them."""

from __future__ import annotations

import pytest

from weft.model.labels import labels_from_mapping
from weft.model.locality import NOWHERE, Locality, is_locality, locality_from_text, locality_of, with_topology


@pytest.mark.parametrize(
    ("text", "locality"),
    [
        ("", NOWHERE),
        ("eu", Locality("eu")),
        ("eu/eu-1a", Locality("eu", "eu-1a")),
        ("eu/eu-1a/rack.7", Locality("eu", "eu-1a", "rack.7")),
    ],
)
def test_what_is_written_is_read(text: str, locality: Locality) -> None:
    assert locality_from_text(text) == locality
    assert str(locality) == text
    assert is_locality(locality)


@pytest.mark.parametrize("text", ["/", "eu/", "/a", "eu//b", "a/b/c/d", "e u", "eu/*", "-a", "é", "a" * 64])
def test_what_is_no_locality_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected REGION"):
        locality_from_text(text)


def test_a_zone_without_a_region_is_none() -> None:
    assert not is_locality(Locality("", "b"))
    assert not is_locality(Locality("a/b"))


@pytest.mark.parametrize(
    ("given", "labels", "locality"),
    [
        ("", {}, ""),
        ("a/b", {}, "a/b"),
        ("", {"istio-locality": "a.b.c"}, "a/b/c"),
        ("x/y", {"istio-locality": "a.b"}, "a/b"),
        ("x/y", {"istio-locality": "a.b.c.d"}, "x/y"),
        ("", {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}, "r/z"),
        ("x", {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}, "x"),
        ("", {"topology.kubernetes.io/zone": "z"}, ""),
        ("", {"topology.kubernetes.io/region": "r", "topology.istio.io/subzone": "s"}, "r"),
    ],
)
def test_the_label_of_istio_wins_and_those_of_topology_come_last(
    given: str, labels: dict[str, str], locality: str
) -> None:
    assert str(locality_of(locality_from_text(given), labels_from_mapping(labels))) == locality


def test_labels_of_topology_follow_from_a_locality() -> None:
    found = with_topology((("app", "x"),), Locality("r", "z"))
    assert found == (("app", "x"), ("topology.kubernetes.io/region", "r"), ("topology.kubernetes.io/zone", "z"))
    assert with_topology((("app", "x"),), NOWHERE) == (("app", "x"),)
