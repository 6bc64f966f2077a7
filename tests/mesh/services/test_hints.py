"""Hints at the name that was perhaps meant: whoever registers a workload cannot make them dear."""

from __future__ import annotations

import difflib
from typing import Any

import pytest

from support.meshdocs import Compiled, service, upstream, workload
from weft.schema.wording import nearest_name


def test_of_many_names_the_closest_is_found() -> None:
    names = [f"service-{number}-of-the-team" for number in range(200)]
    assert nearest_name("servcie-77-of-teh-team", names) == "service-77-of-the-team"
    assert nearest_name("quite-different", names) == ""


def test_names_of_one_registration_are_hardly_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    compare = difflib.get_close_matches

    def counted(word: str, names: Any, **how: Any) -> list[str]:
        nonlocal compared
        compared += len(names)
        return compare(word, names, **how)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    texts = [service(f"service-{number}") for number in range(100)]
    unknown = [f"servic-{number}" for number in range(300)]
    greedy = workload(
        "service-0", name="greedy", uses=tuple(unknown), upstreams=tuple(upstream(each, 80) for each in unknown)
    )
    strangers = [workload(f"servic-{number}") for number in range(100)]
    mesh = Compiled(*texts, workloads=[greedy, *strangers])
    mesh.sidecar(greedy)
    found = [problem for problem in mesh.mesh.problems if problem.code in ("unknown-use", "unknown-upstream")]
    assert (len(found), sum(1 for problem in found if problem.nearest)) == (600, 16)
    assert len([problem for problem in mesh.mesh.idle if problem.code == "not-selected"]) == 100
    assert compared < 300
