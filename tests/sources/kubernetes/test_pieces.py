"""Lines, back-off and discovery: what the source of Kubernetes is made of, each by itself."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.aio.backoff import Backoff
from weft.schema.registry import find_kind
from weft.sources.kubernetes.discovery import FOLLOWED, DiscoveryError, found_from
from weft.sources.kubernetes.lines import Lines, LineTooLongError


@given(st.lists(st.binary(max_size=20)), st.data())
def test_lines_are_the_same_however_they_arrive(given_lines: list[bytes], data: st.DataObject) -> None:
    text = b"\n".join(given_lines)
    lines, found, rest = Lines(1000), [], text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += lines.feed(rest[:size])
        rest = rest[size:]
    assert found == [line for line in text.split(b"\n")[:-1] if line.strip()]


def test_a_line_that_is_too_long_is_refused_before_its_end() -> None:
    lines = Lines(10)
    assert lines.feed(b"0123456789") == []
    with pytest.raises(LineTooLongError):
        lines.feed(b"0")
    with pytest.raises(LineTooLongError):
        Lines(10).feed(b"0123456789a\nb")


def test_waits_grow_to_the_longest_and_differ() -> None:
    waits = [Backoff(1.0, 30.0, chance=random.Random(seed)) for seed in (1, 2)]
    first, second = ([each.next() for _ in range(40)] for each in waits)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        whole = min(30.0, 2.0**number)
        assert whole / 2 <= one <= whole
        assert one != other
    assert waits[0].next(at_least=60) == 60
    waits[0].reset()
    assert waits[0].next() <= 1.0


def group(name: str, **versions: dict[str, str]) -> dict[str, Any]:
    """A group with resources by version: plural to kind."""
    return {
        "metadata": {"name": name},
        "versions": [
            {
                "version": version,
                "resources": [
                    {
                        "resource": plural,
                        "responseKind": {"group": name, "version": version, "kind": kind},
                        "verbs": ["get", "list", "watch"] if kind != "Binding" else ["create"],
                    }
                    for plural, kind in kinds.items()
                ],
            }
            for version, kinds in versions.items()
        ],
    }


def groups(*items: dict[str, Any]) -> bytes:
    return json.dumps({"kind": "APIGroupDiscoveryList", "items": items}).encode()


def test_kinds_are_read_in_the_version_that_weft_prefers() -> None:
    core = group("", v1={"services": "Service", "secrets": "Secret", "configmaps": "ConfigMap", "pods": "Pod"})
    core["metadata"] = {}
    routes = group("gateway.networking.k8s.io", v1beta1={"httproutes": "HTTPRoute"}, v1={"httproutes": "HTTPRoute"})
    istio = group("networking.istio.io", v1alpha3={"virtualservices": "VirtualService"})
    newer = group("security.istio.io", v7={"authorizationpolicies": "AuthorizationPolicy"})
    found = found_from([groups(core), groups(routes, istio, newer)])
    assert {each.path for each in found.served} == {
        "/api/v1/services",
        "/apis/gateway.networking.k8s.io/v1/httproutes",
        "/apis/networking.istio.io/v1alpha3/virtualservices",
    }
    assert found.unreadable == ((find_kind("authorizationpolicies"), ("v7",)),)


def test_secrets_are_not_read() -> None:
    assert {"Secret", "ConfigMap"}.isdisjoint(kind.name for kind in FOLLOWED)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"kind": "APIGroupList", "groups": []}', b"\xff"])
def test_an_answer_that_is_no_discovery(answer: bytes) -> None:
    with pytest.raises(DiscoveryError):
        found_from([answer])
