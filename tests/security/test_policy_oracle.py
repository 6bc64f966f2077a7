"""The policy oracle: ten thousand random pairs of policies and requests, on which Envoy, the verdict and the documents
agree; and proof that it would notice if they did not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from support import policy_envoy, policy_oracle
from support.connection_oracle import consult_connections
from support.policy_documents import CALLERS, Json, Maker, Sent
from support.policy_oracle import Outcome, compile_cases, consult, running_oracle
from weft.mesh.access.policy import Pattern
from weft.xds.access import matchers

PAIRS = 10_000


@pytest.mark.parametrize("seed", [8])
async def test_envoy_verdict_and_documents_agree(seed: int, tmp_path: Path) -> None:
    outcome = await consult(PAIRS, seed, tmp_path)
    assert not outcome.disagreements, f"{outcome.pairs} pairs:\n{outcome.disagreements[0]}"
    assert 0.2 < outcome.allowed / outcome.pairs < 0.8  # neither answer is rare


async def test_envoy_verdict_and_documents_agree_on_connections(tmp_path: Path) -> None:
    outcome = await consult_connections(70, 8, tmp_path)
    assert not outcome.disagreements, f"{outcome.pairs} pairs:\n{outcome.disagreements[0]}"
    assert outcome.pairs == 70 * 14 and 0.2 < outcome.allowed / outcome.pairs < 0.8


async def test_a_removed_policy_is_gone(tmp_path: Path) -> None:
    maker, outcome = Maker(random.Random(1)), Outcome()
    async with running_oracle(tmp_path) as oracle:
        for documents in ([document("DENY", [{}])], [], [document("ALLOW", [])], [document("ALLOW", [{}])]):
            await oracle.judge(compile_cases({"case": documents}), maker, outcome)
    assert not outcome.disagreements
    assert outcome.allowed == outcome.pairs // 2


async def test_the_oracle_notices_a_name_that_is_only_a_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an encoder that confuses the two, it disagrees: so it would have been seen."""
    right = matchers.text

    def wrong(pattern: Pattern, before: str = "", *, ignore_case: bool = False) -> StringMatcher:
        found = right(pattern, before, ignore_case=ignore_case)
        return StringMatcher(prefix=found.exact) if found.exact else found

    monkeypatch.setattr(matchers, "text", wrong)
    outcome = await consult(PAIRS, 8, tmp_path)
    assert outcome.disagreements


def document(action: str, rules: list[Json]) -> Json:
    """A policy of the namespace of the only case."""
    spec: Json = {"action": action} | ({"rules": rules} if rules else {})
    metadata = {"name": "one", "namespace": "case"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def test_a_disagreement_is_told_with_as_few_documents_as_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [document("DENY", [{}]), document("AUDIT", [{}])]
    documents[1]["metadata"]["name"] = "two"
    sent = Sent(CALLERS[0], "127.0.0.1", "reviews.example", "GET", "/", "reviews")
    monkeypatch.setattr(policy_oracle, "reading", lambda *_: True)
    told, _ = policy_oracle.smallest(compile_cases({"case": documents})[0], sent)
    assert [one["metadata"]["name"] for one in told] == ["one"]
    assert policy_envoy.CASE not in str(told)
