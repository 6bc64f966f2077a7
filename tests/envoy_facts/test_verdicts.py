"""What Envoy says of access policies: which rule decided, and what it makes of a header that is sent twice."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from support import policy_envoy
from support.loopback import Response
from support.policy_documents import Json, Maker
from support.policy_oracle import Case, compile_cases, running_oracle

DECIDED = "%DYNAMIC_METADATA(envoy.filters.http.rbac)%"


def policy(name: str, action: str, rules: list[Json], **metadata: Any) -> Json:
    """A policy of the namespace of the only case."""
    named = {"name": name, "namespace": "c"} | metadata
    spec = {"action": action, "rules": rules}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": named, "spec": spec}


async def answers(directory: Path, documents: list[Json], *headers: tuple[str, ...]) -> list[Response]:
    """What the proxy answers to a request with these values of x-id, one request for each."""
    plain = Maker(random.Random(1)).sent("shop/web", "127.0.0.1", "reviews.example")
    plain = dataclasses.replace(plain, method="GET", target="/", host="reviews", client="", token=0)
    (case,) = compile_cases({"c": documents})
    async with running_oracle(directory) as oracle:
        sent: list[tuple[Case, Any]] = [
            (case, dataclasses.replace(plain, headers=tuple(("x-id", value) for value in values))) for values in headers
        ]
        return await oracle.asked([case], sent)


@pytest.mark.parametrize(
    ("condition", "values", "allow", "deny"),
    [
        ({"values": ["b"]}, ("a", "b"), 403, 403),
        ({"values": ["b"]}, ("b", "a"), 403, 403),
        ({"values": ["b"]}, ("a,b",), 403, 200),
        ({"values": ["a,b"]}, ("a", "b"), 403, 200),
        ({"notValues": ["b"]}, ("a", "b"), 403, 403),
        ({"notValues": ["b"]}, (), 200, 403),
    ],
)
async def test_each_value_of_a_repeated_header_is_looked_at(
    condition: Json, values: tuple[str, ...], allow: int, deny: int, tmp_path: Path
) -> None:
    """Where a condition lets a caller in all values have to fit; where it keeps one out, one is enough."""
    rules = [{"when": [{"key": "request.headers[x-id]", **condition}]}]
    for action, status in (("ALLOW", allow), ("DENY", deny)):
        directory = tmp_path / action
        directory.mkdir()
        (answer,) = await answers(directory, [policy("one", action, rules)], values)
        assert answer.status == status, action


async def test_the_rule_that_decided_is_named_in_details_and_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_envoy, "SAID", f"%RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% {DECIDED}")
    denies = [{"when": [{"key": "request.headers[x-id]", "values": ["bad"]}]}]
    documents = [
        policy("in", "ALLOW", [{}]),
        policy("out", "DENY", denies),
        policy("note", "AUDIT", [{}]),
        policy("try", "DENY", [{}], annotations={"istio.io/dry-run": "true"}),
    ]
    allowed, denied = await answers(tmp_path, documents, ("good",), ("bad",))
    assert denied.status == 403
    assert denied.headers["x-details"].startswith("rbac_access_denied_matched_policy[AuthorizationPolicy/c/out/0] - ")
    for text in (
        '"allow_enforced_effective_policy_id":"AuthorizationPolicy/c/in/0"',
        '"audit_enforced_effective_policy_id":"AuthorizationPolicy/c/note/0"',
        '"dry_run_deny_shadow_effective_policy_id":"AuthorizationPolicy/c/try/0"',
        '"dry_run_deny_shadow_engine_result":"denied"',
    ):
        assert text in allowed.headers["x-details"], allowed.headers
