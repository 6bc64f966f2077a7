"""Who may call whom, asked by name: callers, places, answers with their policy and line, lists and the matrix."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, gateway_workload, service, workload
from weft.explain.answer import Decider
from weft.explain.authorization import Allowance, Asked, check, listing
from weft.explain.callers import UnknownNameError
from weft.explain.matrix import build_matrix
from weft.schema.decode import decode_documents

POLICIES = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  action: ALLOW
  rules:
  - from: [{source: {serviceAccounts: [cart]}}]
    to: [{operation: {methods: [GET, POST], paths: [/orders/*]}}]
  - from: [{source: {principals: [cluster.local/ns/default/sa/gateway-edge]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-bots, namespace: shop}
spec:
  action: DENY
  rules:
  - when: [{key: "request.headers[x-bot]", values: ["*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: default}]
  rules: [{backendRefs: [{name: orders, port: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  selector: {app: db}
  ports: [{name: tcp, port: 5432}]
"""
TEXT = service("orders", 8080, namespace="shop") + service("idle", 8080, namespace="shop") + POLICIES


def mesh(*texts: str) -> Compiled:
    """Orders and a database, a cart that calls them, and a gateway."""
    return Compiled(
        *(texts or (TEXT,)),
        workloads=(
            workload("orders", port=8080, number=1, namespace="shop"),
            workload("cart", port=8080, number=2, namespace="shop"),
            workload("db", port=5432, number=3, namespace="shop"),
            workload("job", port=8080, number=4),
            gateway_workload("edge"),
        ),
    )


def ask(caller: str, to: str, **changes: Any) -> Allowance:
    return check(mesh().mesh, Asked(caller, to, **({"path": "/orders/7"} | changes)))


def line(text: str) -> int:
    """Where a text stands among the documents."""
    return TEXT[: TEXT.index(text)].count("\n") + 1


def test_an_allowed_call_names_policy_and_the_line_of_its_rule() -> None:
    found = ask("shop/cart-v1", "shop/orders:8080")
    assert found.allowed
    assert found.policy == Decider(
        "AuthorizationPolicy shop/orders", f"doc0.yaml:{line('- from: [{source: {serviceAccounts')}"
    )
    assert "rule 0" in found.reason and "shop/orders-v1 port 8080" in found.reason


@pytest.mark.parametrize(
    "changes", [{"path": "/other"}, {"method": "DELETE"}, {"path": "/orders/../other"}, {"path": "/orders/%2e%2e/x"}]
)
def test_what_no_rule_names_is_denied_by_the_policy(changes: dict[str, str]) -> None:
    found = ask("shop/cart-v1", "shop/orders:8080", **changes)
    assert not found.allowed and found.policy is not None
    assert found.policy.object == "AuthorizationPolicy shop/orders"


def test_deny_names_its_own_rule() -> None:
    found = ask("shop/cart-v1", "shop/orders:8080", headers={"X-Bot": ("yes",)})
    assert not found.allowed and found.policy is not None
    assert found.policy == Decider("AuthorizationPolicy shop/no-bots", f"doc0.yaml:{line('- when:')}")


def test_a_place_without_policies_has_none_to_name() -> None:
    found = ask("shop/cart-v1", "default/job-v1")
    assert found.allowed and found.policy is None


def test_a_path_that_the_proxy_refuses_is_denied() -> None:
    found = ask("shop/cart-v1", "shop/orders:8080", path="/orders%2f7")
    assert not found.allowed and "400" in found.reason


def test_on_a_connection_a_deny_by_header_is_met() -> None:
    found = ask("shop/cart-v1", "shop/db:5432")
    assert not found.allowed and found.policy is not None
    assert found.policy.object == "AuthorizationPolicy shop/no-bots"


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        ("cart-v1", True),
        ("cart", True),
        ("shop/cart", True),
        ("sa:shop/cart", True),
        ("spiffe://cluster.local/ns/shop/sa/cart", True),
        ("sa:shop/other", False),
        ("spiffe://other.org/ns/shop/sa/cart", False),
        ("nobody", False),
        ("default/job-v1", False),
        ("edge", True),
        ("outside", True),
    ],
)
def test_who_calls_may_be_said_in_many_ways(caller: str, allowed: bool) -> None:
    assert ask(caller, "shop/orders:8080", namespace="shop").allowed is allowed


def test_without_a_certificate_mutual_tls_refuses() -> None:
    found = ask("nobody", "shop/orders:8080")
    assert not found.allowed and found.policy is None and "mutual TLS" in found.reason


GUARDED = """
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: default}
stringData: {acme: key-of-acme}
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys, namespace: default}
spec:
  targetRefs: [{kind: Gateway, name: edge}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: keys}]}
"""
ASKED = """rules:
  - filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: idle, port: 8080}}}]
    backendRefs: [{name: orders, port: 8080}]
"""


def test_what_clients_of_a_gateway_meet_besides_is_told() -> None:
    text = TEXT.replace("rules: [{backendRefs: [{name: orders, port: 8080}]}]\n", ASKED) + GUARDED
    there = mesh(text).mesh
    route = "HTTPRoute shop/orders"
    met = ("answers 401 to who shows no API key of 1 clients (CredentialPolicy default/keys", "asks idle.shop")
    for to in ("shop/orders:8080", "default/edge:80"):
        notes = check(there, Asked("outside", to)).notes[-2:]
        assert [note.startswith(begin) for note, begin in zip(notes, met, strict=True)] == [True, True], notes
        assert all(route in note for note in notes)
    assert check(there, Asked("shop/cart", "shop/orders:8080", path="/orders/1")).notes == ()
    (place,) = listing(there, "default/edge:80")
    assert [text.startswith(begin) for text, begin in zip(place.meets, met, strict=True)] == [True, True]
    assert listing(there, "shop/orders:8080")[0].meets == ()


def test_from_outside_a_gateway_must_lead_there() -> None:
    assert "gateway default/edge" in ask("outside", "shop/orders:8080").notes[0]
    found = ask("outside", "shop/db:5432")
    assert not found.allowed and "no gateway" in found.reason


def test_a_service_without_workloads_is_asked_as_its_labels_say() -> None:
    found = ask("shop/cart-v1", "shop/idle:8080")
    assert found.allowed and "any workload of Service shop/idle" in found.reason


@pytest.mark.parametrize(
    ("caller", "to", "told"),
    [
        ("shop/crat-v1", "shop/orders:8080", "did you mean 'shop/cart-v1'?"),
        ("shop/cart-v1", "shop/order:8080", "did you mean 'shop/orders'?"),
        ("shop/cart-v1", "shop/orders:80", "has no port 80; it has 8080"),
        ("shop/cart-v1", "shop/orders:http", "expected a port number"),
        ("shop/cart-v1", "default/job-v1:1", "has no port 1; it has 8080"),
        ("spiffe://x", "shop/orders:8080", "expected spiffe://"),
    ],
)
def test_names_that_mean_nothing_are_told_with_the_nearest(caller: str, to: str, told: str) -> None:
    with pytest.raises(UnknownNameError, match=r".") as error:
        ask(caller, to)
    assert told in str(error.value)


def test_what_it_depends_on_and_is_not_given_is_not_allowed() -> None:
    text = TEXT.replace("serviceAccounts: [cart]", "ipBlocks: [10.0.0.0/8]")
    compiled = mesh(text).mesh
    asked = Asked("shop/cart-v1", "shop/orders:8080", path="/orders/1")
    assert not check(compiled, asked).allowed and "source ip" in check(compiled, asked).reason
    assert check(compiled, Asked("shop/cart-v1", "shop/orders:8080", path="/orders/1", source_ip="10.1.1.1")).allowed


def test_a_policy_that_cannot_be_understood_closes_and_is_named() -> None:
    text = TEXT.replace("action: DENY", "action: PERHAPS")
    compiled = Compiled(decode_documents(text, "mesh.yaml").documents, workloads=mesh().mesh.workloads).mesh
    found = check(compiled, Asked("shop/cart-v1", "shop/orders:8080", path="/orders/1"))
    assert not found.allowed and found.policy is not None
    assert found.policy.object == "AuthorizationPolicy shop/no-bots" and "cannot be understood" in found.reason


def test_policies_are_listed_in_the_order_in_which_they_are_asked() -> None:
    (place,) = listing(mesh().mesh, "shop/orders:8080")
    assert (place.workload, place.port, place.default) == ("shop/orders-v1", 8080, "denied")
    assert [(one.action, one.object) for one in place.policies] == [
        ("DENY", "AuthorizationPolicy shop/no-bots"),
        ("ALLOW", "AuthorizationPolicy shop/orders"),
    ]
    assert place.policies[1].rules[0].text == (
        "rule 0: from service account shop/cart; to method GET, POST and path /orders/*"
    )
    assert place.policies[1].rules[0].source.startswith("doc0.yaml:")


def test_the_matrix_says_who_can_call_whom() -> None:
    found = build_matrix(mesh().mesh)
    callers = [one.name for one in found.callers]
    targets = [one.name for one in found.targets]
    assert targets == ["shop/db:5432", "shop/idle:8080", "shop/orders:8080"]
    assert callers == ["default/gateway-edge", "default/job", "shop/cart", "shop/db", "shop/orders", "nobody"]
    orders = {name: found.answers[row[2]] for name, row in zip(callers, found.cells, strict=True)}
    assert {name: answer.reaches for name, answer in orders.items()} == {
        "default/gateway-edge": "some",
        "default/job": "no",
        "shop/cart": "some",
        "shop/db": "no",
        "shop/orders": "no",
        "nobody": "no",
    }
    assert orders["shop/cart"].only == ("to method GET, POST and path /orders/*",)
    assert orders["shop/cart"].but == ("when header x-bot = *",)
    assert [one.object for one in orders["shop/cart"].policies] == [
        "AuthorizationPolicy shop/orders",
        "AuthorizationPolicy shop/no-bots",
    ]
    assert {found.answers[row[0]].reaches for row in found.cells} == {"no"}
    assert build_matrix(mesh().mesh, ("default",)).targets == ()
