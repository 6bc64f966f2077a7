"""Denied: what explanations say of policies, for requests that are described and for those that proxies noted."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, gateway_workload, service, workload
from weft.explain.answer import Explanation
from weft.explain.explanation import explain
from weft.explain.facts import Facts, Question
from weft.explain.journal import Noted
from weft.explain.ladder import explain_requests, noted_causes
from weft.explain.matching import Request
from weft.mesh.view import build_view
from weft.model.requests import RequestSeen

TEXT = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {serviceAccounts: [cart]}}]
    to: [{operation: {methods: [GET]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-bots}
spec:
  selector: {matchLabels: {app: orders}}
  action: DENY
  rules:
  - when: [{key: "request.headers[x-bot]", values: ["*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: orders, port: 80}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  rules:
  - to: [{operation: {paths: [/shop/*]}}]
"""
CART, JOB, ORDERS = workload("cart", port=80, number=1), workload("job", port=80, number=2), workload("orders", port=80)
EDGE = gateway_workload("edge")
MESH = Compiled(service("orders", 80) + TEXT, workloads=(CART, EDGE, JOB, ORDERS)).mesh
FACTS = Facts(MESH, 1000.0)


def ask(caller: Any, path: str = "/x", method: str = "GET", *, anybody: bool = False, **headers: str) -> Explanation:
    """What becomes of a request to orders."""
    asked = Request("orders", path, method, port=80, headers=headers)
    return explain(FACTS, Question(caller, build_view(MESH, caller, Compiled().memo), asked, anybody))


def test_an_allowed_request_says_by_which_rule() -> None:
    found = ask(CART)
    assert found.answer.outcome == "forwarded"
    assert found.hops[1].verdicts == (
        "allowed by AuthorizationPolicy default/orders (doc0.yaml:18): rule 0 of an ALLOW policy matches the call",
    )


@pytest.mark.parametrize(
    ("caller", "changes", "by"),
    [(JOB, {}, "orders"), (CART, {"method": "PUT"}, "orders"), (CART, {"x-bot": "1"}, "no-bots")],
)
def test_a_denied_request_is_refused_with_the_policy_and_its_line(
    caller: Any, changes: dict[str, str], by: str
) -> None:
    found = ask(caller, **changes)  # type: ignore[arg-type]
    assert (found.answer.outcome, found.answer.status) == ("refused", 403)
    assert f"AuthorizationPolicy default/{by} (doc0.yaml:" in found.answer.text
    assert found.causes[0].code == "access-denied"
    assert found.causes[0].object == f"AuthorizationPolicy default/{by}"
    assert not any("hands it to the application" in text for text in found.hops[1].does)


def test_what_a_description_does_not_say_is_not_known() -> None:
    found = ask(CART, anybody=True)
    assert found.answer.outcome == "forwarded"
    assert "not known" in found.hops[1].verdicts[0] and "service account" in found.hops[1].verdicts[0]


def test_a_gateway_refuses_before_anything_is_called() -> None:
    found = ask(EDGE, "/admin")
    assert (found.answer.status, len(found.hops)) == (403, 1)
    assert found.causes[0].object == "AuthorizationPolicy default/edge"
    found = ask(EDGE, "/shop/1")
    assert found.hops[0].verdicts[0].startswith("allowed by AuthorizationPolicy default/edge")
    assert found.answer.status == 403 and found.causes[0].object == "AuthorizationPolicy default/orders"


def noted(details: str, **changes: Any) -> Noted:
    """A request that the proxy of orders noted."""
    fields: dict[str, Any] = {
        "id": "a" * 32,
        "method": "GET",
        "path": "/x",
        "host": "orders",
        "status": 403,
        "details": details,
        "cluster": "inbound|80||",
        "peer": "job-v1.default",
    }
    return Noted("default/orders-v1", RequestSeen(1.0, "inbound", **(fields | changes)))


def matched(rule_id: str) -> str:
    return f"rbac_access_denied_matched_policy[{rule_id}]"


@pytest.mark.parametrize(
    ("rule_id", "told", "by", "source"),
    [
        ("AuthorizationPolicy/default/no-bots/0", "rule 0 of a DENY policy matches it (when header", "no-bots", ":28"),
        ("none", "no rule of an ALLOW policy matches it (AuthorizationPolicy default/orders)", "orders", ":12"),
        ("AuthorizationPolicy/default/gone/3", "rule 3 of AuthorizationPolicy default/gone", "gone", ""),
    ],
)
def test_a_noted_request_names_the_policy_that_denied_it(rule_id: str, told: str, by: str, source: str) -> None:
    found = explain_requests(FACTS, [noted(matched(rule_id))], str)
    (cause,) = found.causes
    assert (cause.code, cause.object) == ("access-denied", f"AuthorizationPolicy default/{by}")
    assert told in cause.text and "from job-v1.default" in cause.text and cause.source.endswith(source)
    assert cause.fix == "weft authz check default/job-v1 default/orders-v1:80 --method GET --path /x"
    assert told in found.hops[0].verdicts[0]


def test_a_denied_connection_is_named_too() -> None:
    seen = noted("", method="", path="", status=0, failure=matched("none"))
    (cause,) = explain_requests(FACTS, [seen], str).causes
    assert cause.code == "access-denied" and "denied a connection" in cause.text
    assert cause.fix == "weft authz check default/job-v1 default/orders-v1:80"


def test_a_forbidden_answer_of_the_application_is_no_policys() -> None:
    seen = noted("via_upstream")
    assert not seen.seen.failed and not explain_requests(FACTS, [seen], str).causes


def test_denied_requests_of_several_callers_are_counted_apart() -> None:
    given = [noted(matched("none"), id=f"{number:032}", peer=peer) for number, peer in enumerate(("a.b", "a.b", "c.d"))]
    assert [(one.seen.peer, count) for one, _, count in noted_causes(FACTS, given)] == [("a.b", 2), ("c.d", 1)]
