"""Injection takes a few milliseconds of whatever pod is asked about, and tells of it within bounds."""

from __future__ import annotations

import difflib
from typing import Any

import pytest

from support.injection import SETTINGS, pod
from weft.inject import findings
from weft.inject.decision import Namespace
from weft.inject.findings import MOST
from weft.inject.pod import Injected, inject_pod

HERE = Namespace("shop", {"istio-injection": "enabled"})


def injected(**annotations: str) -> Injected:
    return inject_pod(pod(annotations=annotations), HERE, SETTINGS)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that near ones were looked for."""
    found: list[str] = []

    def count(word: str, *rest: Any) -> list[str]:
        found.append(word)
        return difflib.get_close_matches(word, *rest)

    monkeypatch.setattr(findings, "get_close_matches", count)
    return found


def test_near_words_are_looked_for_a_few_times(looks: list[str]) -> None:
    unknown = {f"sidecar.istio.io/proxyCPV{index:04}": "1" for index in range(1500)}
    config = "\n".join(f"concurrencx{index:04}: 1" for index in range(200))
    result = injected(**unknown, **{"proxy.istio.io/config": config})
    assert result.pod is not None
    assert len(looks) <= 5


def test_a_long_word_has_no_near_one(looks: list[str]) -> None:
    injected(**{"sidecar.istio.io/" + "x" * 100: "1"})
    assert looks == []


def test_what_is_told_is_bounded_and_says_so() -> None:
    result = injected(**{f"weft.dev/k{index:04}": "1" for index in range(1500)})
    assert result.pod is not None
    assert len(result.problems) == MOST + 1
    assert result.problems[-1].message == f"and {1500 - MOST} more of the kind"
    assert len(result.pod["metadata"]["annotations"]["weft.dev/status"]) < 10_000


def test_a_refusal_is_never_among_what_is_left_out() -> None:
    unknown = {f"sidecar.istio.io/a{index:04}": "1" for index in range(100)}
    result = injected(**unknown, **{"traffic.sidecar.istio.io/zone": "1"})
    assert result.pod is None
    assert [each.message for each in result.problems if each.severity == "error"]


@pytest.mark.parametrize("kind", ["labels", "annotations"])
def test_more_than_an_api_server_keeps_is_refused(kind: str) -> None:
    about: Any = {kind: {f"example.org/k{index:05}": "x" * 160 for index in range(1800)}}
    result = inject_pod(pod(**about), HERE, SETTINGS)
    assert result.pod is None
    assert [each.message for each in result.problems] == [f"the {kind} have {1800 * 178} bytes"]
    assert result.problems[0].expected == "at most 262144 bytes"


@pytest.mark.parametrize("kind", ["labels", "annotations"])
def test_more_keys_than_any_pod_has_are_refused(kind: str) -> None:
    about: Any = {kind: {f"a.istio.io/{index}": "" for index in range(2001)}}
    result = inject_pod(pod(**about), HERE, SETTINGS)
    assert [each.message for each in result.problems] == [f"there are 2001 {kind}"]


def test_more_containers_than_any_pod_has_are_refused() -> None:
    result = inject_pod(pod(containers=[{"name": f"c{index}"} for index in range(501)]), HERE, SETTINGS)
    assert [each.message for each in result.problems] == ["there are 501 containers"]


def test_a_long_list_is_refused() -> None:
    ports = ",".join(map(str, range(1, 3001)))
    result = injected(**{"traffic.sidecar.istio.io/excludeOutboundPorts": ports})
    assert result.pod is None
    assert result.problems[0].message.endswith("excludeOutboundPorts: it has 3000 values")
    assert result.problems[0].expected == "at most 500"


def test_a_long_configuration_is_refused() -> None:
    config = "\n".join(f"a{index}: 1" for index in range(2000))
    result = injected(**{"proxy.istio.io/config": config})
    assert result.pod is None
    assert result.problems[0].message == f"proxy.istio.io/config has {len(config)} characters"
