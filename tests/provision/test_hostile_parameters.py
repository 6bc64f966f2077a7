"""Parameters of Gateways by somebody who means harm, or does not look."""

from __future__ import annotations

import pytest

from provision.test_parameters import plans
from weft.provision import parameters


@pytest.mark.parametrize(
    "own",
    [
        {"deployment": "spec: {template: {spec: {containers: [{name: {}}]}}}"},
        {"deployment": "spec: {template: {spec: {imagePullSecrets: [{name: {}}, {name: []}]}}}"},
        {"service": "spec: {ports: [{port: []}, {port: []}]}"},
    ],
)
def test_a_list_is_merged_by_plain_words_alone(own: dict[str, str]) -> None:
    found = plans(own)
    assert not found.plans
    assert all("found a " in each.message for each in found.problems), found.problems


def test_a_text_that_weft_trips_over_is_a_fault_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(parameters, "faults_of", trip)
    parameters.read_parameters.cache_clear()
    try:
        [problem] = plans({"service": "spec: {}"}).problems
    finally:
        parameters.read_parameters.cache_clear()
    assert "weft cannot read it (RuntimeError); please report it" in problem.message
