"""Warnings about policies: what is told, of which rule, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.meshdocs import Compiled, service, workload

Rules = list[dict[str, Any]]


def policy(name: str, action: str, rules: Rules, namespace: str = "shop", **spec: Any) -> str:
    """An AuthorizationPolicy."""
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"action": action, **({"rules": rules} if rules else {}), **spec},
    }
    return f"---\n{yaml.safe_dump(document)}"


def source(**fields: list[str]) -> dict[str, Any]:
    """A rule for callers."""
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    """A rule for what is called."""
    return {"to": [{"operation": fields}]}


def told(*texts: str, **more: Any) -> list[tuple[str, str]]:
    """Code and object of the warnings about policies."""
    mesh = Compiled(*texts, **more).mesh
    found = (*mesh.problems, *mesh.idle)
    return [(one.code, one.object.name) for one in found if one.object and one.object.kind == "AuthorizationPolicy"]


@pytest.mark.parametrize(
    ("action", "rule", "warned"),
    [
        ("DENY", operation(paths=["/admin*"]), True),
        ("DENY", {"when": [{"key": "request.headers[x-role]", "values": ["guest"]}]}, True),
        ("DENY", {"when": [{"key": "request.headers[x-role]", "values": ["*"]}]}, False),
        ("DENY", operation(notPaths=["/public/*"]), False),
        ("DENY", operation(methods=["DELETE"]), False),
        ("ALLOW", operation(paths=["/public/*"]), False),
        ("ALLOW", operation(notPaths=["/admin*"]), True),
        ("AUDIT", operation(paths=["/admin*"]), False),
    ],
)
def test_what_keeps_out_by_path_or_header_is_dodged(action: str, rule: dict[str, Any], warned: bool) -> None:
    assert told(policy("one", action, [rule])) == ([("deny-by-path", "one")] if warned else [])


@pytest.mark.parametrize(
    ("rule", "never"),
    [
        (source(namespaces=["b"], principals=["cluster.local/ns/a/sa/web"]), True),
        (source(namespaces=["a"], principals=["cluster.local/ns/a/sa/web"]), False),
        (source(namespaces=["a", "b"], principals=["*"]), False),
        ({**source(namespaces=["a"]), "when": [{"key": "source.namespace", "values": ["b"]}]}, True),
        ({**source(namespaces=["a"]), "when": [{"key": "source.namespace", "values": ["a*"]}]}, False),
        (source(namespaces=["a"], notNamespaces=["*"]), True),
        (operation(methods=["GET"], notMethods=["GET"]), True),
        (operation(methods=["GET", "PUT"], notMethods=["GET"]), False),
        ({"when": [{"key": "request.headers[x]", "values": ["1"], "notValues": ["1*"]}]}, True),
        ({"when": [{"key": "request.auth.claims[groups]", "values": ["1"], "notValues": ["1"]}]}, False),
        (operation(methods=["get"]), True),
        (operation(methods=["GETT"]), True),
        (operation(methods=["PROPFIND"]), False),
        ({"from": source(namespaces=["b"], principals=["x/ns/a/sa/w"])["from"] + source(namespaces=["b"])["from"]}, 0),
    ],
)  # fmt: skip
def test_rules_that_no_call_can_meet(rule: dict[str, Any], never: bool) -> None:
    found = [code for code, _ in told(policy("one", "ALLOW", [rule])) if code != "tokens-unchecked"]
    assert found == (["rule-never-matches"] if never else [])


def test_the_nearest_method_is_named() -> None:
    mesh = Compiled(policy("one", "ALLOW", [operation(methods=["get"])])).mesh
    assert [one.nearest for one in mesh.problems] == ["GET"]


CART = source(serviceAccounts=["shop/cart"])


@pytest.mark.parametrize(
    ("deny", "allow", "swallowed"),
    [
        (source(namespaces=["shop"]), CART, True),
        (source(namespaces=["other"]), CART, False),
        (source(notNamespaces=["other"]), CART, True),
        ({**source(namespaces=["shop"]), **operation(methods=["PUT"])}, CART, False),
        ({**source(namespaces=["shop"]), **operation(methods=["PUT"])}, {**CART, **operation(methods=["PUT"])}, True),
        (source(ipBlocks=["10.0.0.0/8"]), source(ipBlocks=["10.1.0.0/16"]), True),
        (source(ipBlocks=["10.1.0.0/16"]), source(ipBlocks=["10.0.0.0/8"]), False),
        ({}, CART, True),
        (CART, {}, False),
        (operation(methods=["GET"]), operation(methods=["GET", "PUT"]), False),
        (operation(methods=["GET", "PUT"]), operation(methods=["GET"]), True),
    ],
)
def test_allow_rules_that_a_deny_swallows(deny: dict[str, Any], allow: dict[str, Any], swallowed: bool) -> None:
    found = told(policy("deny", "DENY", [deny]), policy("allow", "ALLOW", [allow]))
    assert (("allow-swallowed", "allow") in found) is swallowed


def test_only_where_the_deny_holds() -> None:
    deny = [source(namespaces=["shop"])]
    orders = {"matchLabels": {"app": "orders"}}
    cart = {"matchLabels": {"app": "cart"}}
    allow = policy("allow", "ALLOW", [CART], selector=orders)
    assert ("allow-swallowed", "allow") in told(policy("deny", "DENY", deny), allow)
    assert ("allow-swallowed", "allow") in told(policy("deny", "DENY", deny, "istio-system"), allow)
    assert ("allow-swallowed", "allow") in told(policy("deny", "DENY", deny, selector=orders), allow)
    assert ("allow-swallowed", "allow") not in told(policy("deny", "DENY", deny, selector=cart), allow)
    assert ("allow-swallowed", "allow") not in told(policy("deny", "DENY", deny, "other"), allow)


def test_a_rule_for_everybody_makes_others_moot() -> None:
    everybody, some = policy("all", "ALLOW", [{}]), policy("some", "ALLOW", [source(namespaces=["shop"])])
    assert told(everybody, some) == [("allows-everybody", "all")]
    assert told(everybody) == []


NAMED = policy("one", "ALLOW", [source(serviceAccounts=["crat"]), source(namespaces=["shpo"], notNamespaces=["x"])])


def test_callers_that_are_not_there_are_told_with_the_nearest() -> None:
    mesh = Compiled(service("cart", namespace="shop"), NAMED, workloads=[workload("cart", namespace="shop")]).mesh
    found = [(one.code, one.nearest, one.path) for one in mesh.idle]
    assert found == [
        ("unknown-caller", "shop/cart", ("spec", "rules", 0)),
        ("unknown-caller", "shop", ("spec", "rules", 1)),
        ("unknown-caller", "", ("spec", "rules", 1)),
    ]
    assert not mesh.problems


def test_callers_that_are_there_are_not_told() -> None:
    right = policy("one", "ALLOW", [source(serviceAccounts=["cart"]), source(namespaces=["shop"])])
    running = [workload("cart", namespace="shop")]
    assert not Compiled(service("cart", namespace="shop"), right, workloads=running).mesh.idle


def test_without_workloads_only_documents_are_known() -> None:
    account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: cart, namespace: shop}\n"
    assert told(NAMED) == []
    assert told(NAMED, account) == [("unknown-caller", "one")]


def test_policies_that_select_nothing() -> None:
    one = policy("one", "ALLOW", [CART], selector={"matchLabels": {"app": "nobody"}})
    running = [workload("cart", namespace="shop")]
    assert told(one, service("cart", namespace="shop"), workloads=running) == [("selects-nothing", "one")]
