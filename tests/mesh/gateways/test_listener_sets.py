"""ListenerSets: who may add listeners to a Gateway, which of several stands, and routes attached to them."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, service, short
from weft.mesh.gateways.status import attached_sets, listener_statuses, set_conditions

SERVICES = service("a") + service("b") + service("a", namespace="shop")
SAME = "allowedListeners: {namespaces: {from: Same}}"


def gateway(
    allowed: str = SAME, listeners: str = "{name: http, port: 80, protocol: HTTP, hostname: own.example}"
) -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: weft
  {allowed}
  listeners: [{{name: http, port: 80, protocol: HTTP, hostname: own.example}}]
"""


def added(listeners: str, name: str = "more", namespace: str = "default") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRef: {{name: front, namespace: default}}
  listeners: [{listeners}]
"""


def route(to: str, parent: str, namespace: str = "default") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {to}, namespace: {namespace}}}
spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{{name: {to}, port: 9080}}]}}]}}
"""


MORE = "{kind: ListenerSet, name: more}"
OTHER = "{name: http, port: 80, protocol: HTTP, hostname: more.example}"


def test_its_listeners_stand_beside_those_of_the_gateway_and_routes_attach_to_either() -> None:
    mesh = Compiled(SERVICES, gateway(), added(OTHER), route("a", MORE), route("b", "{name: front}"))
    assert mesh.codes == []
    assert short(mesh.knock("front", "more.example/")) == "a:9080"
    assert short(mesh.knock("front", "own.example/")) == "b:9080"
    assert short(mesh.knock("front", "else.example/")) == "404"
    [parent] = next(each.parents for each in mesh.mesh.acceptance if each.route.name == "a")
    assert (parent.parent.kind, parent.parent.name) == ("ListenerSet", "more")


@pytest.mark.parametrize(
    ("allowed", "namespace", "taken"),
    [
        ("", "default", False),
        ("allowedListeners: {}", "default", False),
        (SAME, "default", True),
        (SAME, "shop", False),
        ("allowedListeners: {namespaces: {from: All}}", "shop", True),
        ("allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {team: x}}}}", "shop", True),
        ("allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {team: y}}}}", "shop", False),
    ],
)
def test_the_gateway_says_whose_listeners_it_takes(allowed: str, namespace: str, taken: bool) -> None:
    space = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: x}}\n"
    mesh = Compiled(SERVICES, space, gateway(allowed), added(OTHER, namespace=namespace), route("a", MORE, namespace))
    assert short(mesh.knock("front", "more.example/")).startswith("a" if taken else "404")
    assert ("listeners-not-allowed" in mesh.codes) is not taken
    [key] = [key for key in mesh.mesh.gateways.declared if key.kind == "ListenerSet"]
    [own] = [key for key in mesh.mesh.gateways.declared if key.kind == "Gateway"]
    assert attached_sets(own, mesh.mesh.gateways) == int(taken)
    assert attached_sets(key, mesh.mesh.gateways) == 0
    problems = [problem for problem in mesh.mesh.problems if problem.object == key]
    statuses = listener_statuses(key, mesh.mesh.gateways, problems)
    found = set_conditions(statuses, served=True, problems=problems)
    expected = [(True, "Accepted"), (True, "Programmed")] if taken else [(False, "NotAllowed")] * 2
    assert [(each.status, each.reason) for each in found] == expected


def test_the_gateway_is_before_its_sets_and_sets_go_by_name() -> None:
    both = "{name: http, port: 80, protocol: HTTP, hostname: own.example}, " + OTHER.replace("http", "other", 1)
    mesh = Compiled(
        SERVICES, gateway(), added(OTHER, "first"), added(both, "more"), route("a", "{kind: ListenerSet, name: first}")
    )
    assert mesh.codes == ["server-conflict", "server-conflict"]
    assert {problem.object.name for problem in mesh.mesh.problems if problem.object} == {"more"}
    assert short(mesh.knock("front", "more.example/")) == "a:9080"


def said(mesh: Compiled, name: str) -> tuple[list[str], dict[str, list[str]]]:
    """The reasons of a ListenerSet's conditions, and for each of its listeners those that are not the usual ones."""
    [key] = [key for key in mesh.mesh.gateways.declared if key.name == name]
    problems = [problem for problem in mesh.mesh.problems if problem.object == key]
    statuses = listener_statuses(key, mesh.mesh.gateways, problems)
    usual = ("Accepted", "NoConflicts", "Programmed", "ResolvedRefs")
    of_listeners = {each.name: [one.reason for one in each.conditions if one.reason not in usual] for each in statuses}
    return [each.reason for each in set_conditions(statuses, served=True, problems=problems)], of_listeners


TCP = "{name: tcp, port: 80, protocol: TCP}"
OWN = "{name: own, port: 80, protocol: HTTP, hostname: own.example}"


@pytest.mark.parametrize(("bad", "reason"), [(TCP, "ProtocolConflict"), (OWN, "HostnameConflict")])
def test_what_conflicts_with_the_gateway_is_out_of_force_and_says_so(bad: str, reason: str) -> None:
    mesh = Compiled(SERVICES, gateway(), added(f"{OTHER}, {bad}"), added(bad, "none"), route("a", MORE))
    assert short(mesh.knock("front", "more.example/")) == "a:9080"
    conflicted = [reason] * 3
    name = bad.partition(": ")[2].partition(",")[0]
    assert said(mesh, "more") == (["ListenersNotValid", "Programmed"], {"http": [], name: conflicted})
    assert said(mesh, "none") == (["ListenersNotValid", "ListenersNotValid"], {name: conflicted})
    [own] = [key for key in mesh.mesh.gateways.declared if key.kind == "Gateway"]
    assert attached_sets(own, mesh.mesh.gateways) == 1


def test_a_set_whose_only_listener_lacks_its_certificate_is_not_accepted() -> None:
    secure = "{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: none, namespace: far}]}}"
    mesh = Compiled(SERVICES, gateway(), added(secure))
    assert said(mesh, "more") == (["ListenersNotValid"] * 2, {"tls": ["Invalid", "RefNotPermitted"]})


def test_a_request_goes_to_the_most_specific_listener_of_all() -> None:
    everything = "{name: any, port: 80, protocol: HTTP}"
    mesh = Compiled(SERVICES, gateway(), added(everything), route("a", MORE), route("b", "{name: front}"))
    assert mesh.codes == []
    assert short(mesh.knock("front", "own.example/")) == "b:9080"
    assert short(mesh.knock("front", "else.example/")) == "a:9080"


def test_what_is_not_there_is_told() -> None:
    mesh = Compiled(SERVICES, added(OTHER), route("a", "{kind: ListenerSet, name: mroe}"))
    assert mesh.codes == ["unknown-gateway", "unknown-gateway"]
