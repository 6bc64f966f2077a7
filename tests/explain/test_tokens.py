"""Refused tokens are explained by the documents that refused them, and nobody reads the token itself anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, service, workload
from support.tokens import Issuer
from weft.explain.facts import Facts
from weft.explain.flags import details_text
from weft.explain.journal import Noted
from weft.explain.ladder import explain_requests
from weft.explain.tokens import token_cause
from weft.model.instants import instant
from weft.model.masking import masked_headers, masked_path
from weft.model.requests import MASKED, RequestSeen

POLICY = """
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: shop}
spec:
  jwtRules:
    - {issuer: "https://a.example", jwksUri: "https://a.example/keys"}
    - {issuer: "https://b.example", jwksUri: "https://b.example/keys"}
"""


def noted(details: str, **fields: Any) -> Noted:
    seen = RequestSeen(
        10.0, "inbound", id="x", method="GET", host="shop", path="/", status=401, details=details,
        cluster="inbound|9080||", **fields,
    )  # fmt: skip
    return Noted("default/reviews-v1", seen)


def facts() -> Facts:
    called = workload("reviews")
    return Facts(Compiled(service("reviews") + POLICY, workloads=[called]).mesh, 20.0)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ("jwt_authn_access_denied{Jwt_is_expired}", "Jwt is expired"),
        ("jwt_authn_access_denied{Jwks_remote_fetch_is_failed}", "the keys of its issuer are not there"),
        ("jwt_authn_access_denied{Jwt_issuer_is_not_configured}", "nobody's tokens are accepted but those"),
        ("jwt_authn_access_denied{\x1b[2J}", "accepted are tokens of"),
    ],
)
def test_a_refused_token_names_reason_document_file_and_line(details: str, words: str) -> None:
    cause = token_cause(facts(), noted(details))
    assert cause is not None
    assert words in cause.text
    assert "https://a.example (doc0.yaml:" in cause.text
    assert "https://b.example (doc0.yaml:" in cause.text
    assert (cause.code, cause.object) == ("token-refused", "RequestAuthentication default/shop")
    assert cause.source.startswith("doc0.yaml:")
    assert cause.text.isprintable()
    assert cause.fix == "weft problems", "there are no keys yet"


def test_it_is_the_cause_of_the_request_and_other_answers_have_others() -> None:
    found = explain_requests(facts(), [noted("jwt_authn_access_denied{Jwt_is_expired}")], instant)
    assert [cause.code for cause in found.causes] == ["token-refused"]
    assert "Jwt is expired" in found.hops[0].verdicts[0]
    assert token_cause(facts(), noted("via_upstream")) is None
    assert details_text("jwt_authn_access_denied{Jwt_is_expired}") == "the request's token is not accepted"


def test_a_workload_that_is_gone_has_a_reason_all_the_same() -> None:
    one = Noted("default/gone", noted("jwt_authn_access_denied{Jwt_is_expired}").seen)
    cause = token_cause(facts(), one)
    assert cause is not None
    assert (cause.object, "Jwt is expired" in cause.text) == ("", True)


TOKEN = Issuer().token()
PARTS = TOKEN.split(".")


@pytest.mark.parametrize(
    "value", [TOKEN, f"Bearer {TOKEN}", f"bearer\t{TOKEN}", TOKEN[:-5], TOKEN[:40], f"x {TOKEN}", f"a=1; t={TOKEN}"]
)
@pytest.mark.parametrize("name", ["authorization", "x-token", "x-ticket", "cookie", "x-payload", "anything"])
def test_no_header_with_a_token_leaves_the_host(name: str, value: str) -> None:
    (found,) = masked_headers({name: value})
    assert found == (name, MASKED)


@pytest.mark.parametrize("name", ["access_token", "ticket", "t", "%74"])
@pytest.mark.parametrize("value", [TOKEN, TOKEN[:40], TOKEN.replace(".", "%2E")])
def test_no_parameter_with_a_token_leaves_the_host(name: str, value: str) -> None:
    for path in (f"/?{name}={value}", f"/a?x=1&{name}={value}&y=2", f"/?u=http%3A%2F%2Fh%2F%3F{name}%3D{value}"):
        masked = masked_path(path)
        assert PARTS[0] not in masked
        assert PARTS[1] not in masked
