"""Rules that no request can come to: what is told, and that it is true."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from support.evaluate import evaluate
from support.matching import Request
from support.meshdocs import Compiled, documents, gateway_workload, service, workload
from weft.mesh.model import Mesh
from weft.mesh.view import build_view
from weft.model.document import Document
from weft.model.labels import labels_from_mapping

SERVICES = service("web", 80, 9080) + service("a") + service("b")
FRONT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def virtual(rules: str, gateways: str = "mesh", hosts: str = "web", name: str = "vs", space: str = "default") -> str:
    """A VirtualService; a rule is a list of matches in flow style (none: every request), rules by line."""
    http = "".join(f"  - match: [{rule.strip()}]\n    directResponse: {{status: 204}}\n" for rule in rules.split("\n"))
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {space}}}
spec:
  hosts: [{hosts}]
  gateways: [{gateways}]
  http:
{http}""".replace("  - match: []\n    direct", "  - direct")


def told(mesh: Compiled) -> list[str]:
    """The fields of all warnings about reach."""
    texts = [str(problem) for problem in mesh.mesh.problems if problem.code == "unreachable"]
    return [text.split(": ")[2].removeprefix("spec.") for text in texts]


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        ("\n{uri: {exact: /x}}", ["http[1]"]),
        ("{uri: {prefix: /}}\n{uri: {exact: /x}}", ["http[1]"]),
        ("{uri: {prefix: /x}}\n{uri: {prefix: /x/y}}\n{uri: {prefix: /y}}", ["http[1]"]),
        ("{uri: {exact: /x}}\n{uri: {exact: /x}}\n{uri: {exact: /X}}", ["http[1]"]),
        ("{uri: {exact: /x}, ignoreUriCase: true}\n{uri: {exact: /X}}", ["http[1]"]),
        ("{uri: {exact: /X}}\n{uri: {exact: /x}, ignoreUriCase: true}", []),
        ("{uri: {regex: '/x.*'}}\n{uri: {regex: '/x.*'}, method: {exact: GET}}", ["http[1]"]),
        ("{method: {exact: GET}}\n{uri: {exact: /x}}", []),
        ("{headers: {h: {}}}\n{headers: {h: {exact: '1'}}}", ["http[1]"]),
        ("{headers: {h: {exact: '1'}}}\n{headers: {h: {}}}", []),
        ("{withoutHeaders: {h: {}}}\n{withoutHeaders: {h: {}, g: {}}}", ["http[1]"]),
        ("{withoutHeaders: {h: {exact: '1'}}}\n{withoutHeaders: {h: {}}}", []),
        ("{uri: {prefix: /x}}\n{uri: {prefix: /y}}, {uri: {prefix: /x/y}}", ["http[1].match[1]"]),
        ("{uri: {prefix: /x}}, {uri: {prefix: /x/y}}", ["http[0].match[1]"]),
        ("{uri: {prefix: /x}}\n{uri: {exact: /x}}, {uri: {exact: /x/y}}", ["http[1]"]),
        (
            "{uri: {prefix: /x}}\n{uri: {prefix: /y}}\n{uri: {exact: /x}}, {uri: {exact: /y}}",
            ["http[2].match[0]", "http[2].match[1]"],
        ),
        ("{sourceLabels: {app: a}}\n{sourceLabels: {app: a, v: '1'}}\n{sourceLabels: {app: b}}", ["http[1]"]),
        ("{port: 80}\n{uri: {prefix: /x}}", []),
        ("{port: 80}\n{port: 80, uri: {prefix: /x}}", ["http[1]"]),
    ],
)
def test_a_rule_behind_one_that_takes_all_its_requests_is_told(rules: str, hidden: list[str]) -> None:
    assert told(Compiled(SERVICES, virtual(rules))) == hidden


def test_the_message_names_the_other_rule_and_its_line() -> None:
    mesh = Compiled(SERVICES, virtual("\n{uri: {exact: /x}}"))
    assert [str(problem) for problem in mesh.mesh.problems] == [
        "doc1.yaml:11: warning: spec.http[1]: no request comes to this rule: http[0] (doc1.yaml:10) is tried first and "
        "takes them all; expected narrower conditions there, or no such rule here"
    ]


def test_a_rule_for_another_side_hides_nothing() -> None:
    text = virtual("{gateways: [front]}\n{uri: {prefix: /x}}\n{gateways: [front], port: 80}", "mesh, front")
    assert told(Compiled(SERVICES, FRONT, text)) == ["http[2]"]


@pytest.mark.parametrize(
    ("rules", "gateways", "fields"),
    [
        ("{port: 80}\n{port: 81}", "mesh", ["http[1].match[0].port"]),
        ("{port: 80}\n{port: 9080}", "front", ["http[1].match[0].port"]),
        ("{port: 9080, gateways: [front]}", "front, mesh", ["http[0].match[0].port"]),
        ("{gateways: [front]}\n{gateways: [mesh, front]}", "mesh", ["http[0].match[0].gateways"]),
        ("{sourceNamespace: elsewhere}", "mesh", []),
        ("{sourceNamespace: elsewhere}", "front", ["http[0].match[0].sourceNamespace"]),
        ("{sourceNamespace: default}", "front", []),
    ],
)
def test_a_match_that_never_holds_is_told(rules: str, gateways: str, fields: list[str]) -> None:
    assert told(Compiled(SERVICES, FRONT, virtual(rules, gateways))) == fields


def test_callers_of_other_namespaces_never_come_to_a_document_about_a_foreign_service() -> None:
    foreign = virtual("{sourceNamespace: default}", hosts="web.default", space="elsewhere")
    assert told(Compiled(SERVICES, foreign)) == ["http[0].match[0].sourceNamespace"]
    own = virtual("{sourceNamespace: elsewhere}", hosts="web.default", space="elsewhere")
    assert told(Compiled(SERVICES, own)) == []


def route(name: str, rules: list[dict[str, Any]], parents: str, created: float = 0.0) -> tuple[Document[object], ...]:
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: {parents}, rules: {json.dumps(rules)}}}
"""
    return documents(text, f"{name}.yaml", created)


WEB = '[{group: "", kind: Service, name: web}]'
GATEWAY = "[{name: front}]"


def path(value: str, to: str = "a") -> dict[str, Any]:
    return {"matches": [{"path": {"value": value}}], "backendRefs": [{"name": to, "port": 9080}]}


@pytest.mark.parametrize("parents", [WEB, GATEWAY])
def test_a_rule_that_an_older_routes_rule_hides_is_told_for_the_host(parents: str) -> None:
    old = route("old", [path("/x")], parents, 1.0)
    mesh = Compiled(SERVICES, FRONT, old, route("young", [path("/y"), path("/x")], parents, 2.0))
    [problem] = mesh.mesh.problems
    assert (problem.object and problem.object.name, problem.path) == ("young", ("spec", "rules", 1))
    gateway = "at Gateway default/front for every host"
    where = "inside the mesh for 'web.default.svc.cluster.local'" if parents is WEB else gateway
    assert f"no request {where} comes to this rule: rules[0] of HTTPRoute default/old (old.yaml:" in problem.message


def test_a_rule_that_is_hidden_on_one_port_only_is_not_told() -> None:
    old = route("old", [path("/x")], '[{group: "", kind: Service, name: web, port: 80}]', 1.0)
    assert told(Compiled(SERVICES, old, route("young", [path("/x")], WEB, 2.0))) == []


def test_a_duplicate_in_one_route_is_told_once() -> None:
    rules = [path("/x"), path("/x", "b")]
    assert told(Compiled(SERVICES, route("one", rules, WEB), route("two", [path("/z")], WEB))) == ["rules[1]"]


PATHS = ("/", "/x", "/x/", "/x/y", "/xy", "/X", "/y")
CONDITIONS: tuple[dict[str, str], ...] = ({"exact": "1"}, {"prefix": "1"}, {"regex": "[0-9]+"}, {})


def random_match(chance: random.Random) -> dict[str, Any]:
    """A random match of a VirtualService."""
    found: dict[str, Any] = {}
    if chance.random() < 0.8:
        kind = chance.choice(("exact", "prefix", "prefix", "regex"))
        found["uri"] = {kind: chance.choice(("/x.*", ".*", "/x/[yz]")) if kind == "regex" else chance.choice(PATHS)}
    if "regex" not in found.get("uri", {}):
        found["ignoreUriCase"] = chance.random() < 0.3
    for field in ("headers", "withoutHeaders"):
        if chance.random() < 0.25:
            found[field] = {"x-h": chance.choice(CONDITIONS)}
    if chance.random() < 0.2:
        found["queryParams"] = {"q": chance.choice(({"exact": "1"}, {"regex": "1+"}))}
    if chance.random() < 0.2:
        found["method"] = {"exact": chance.choice(("GET", "POST"))}
    if chance.random() < 0.2:
        found["port"] = chance.choice((80, 9080))
    if chance.random() < 0.2:
        found["gateways"] = chance.choice((["front"], ["mesh"], ["front", "mesh"]))
    if chance.random() < 0.2:
        found["sourceLabels"] = chance.choice(({"app": "a"}, {"app": "a", "version": "v1"}, {"app": "front"}))
    return found


def random_virtual(chance: random.Random, name: str, gateways: str) -> tuple[Document[object], ...]:
    http = [
        {"name": f"{name}-{place}", "match": [random_match(chance) for _ in range(chance.choice((1, 1, 2)))],
         "directResponse": {"status": 204}}
        for place in range(6)
    ]  # fmt: skip
    text = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [web], gateways: [{gateways}], http: {json.dumps(http)}}}
"""
    return documents(text, f"{name}.yaml", chance.random())


def random_route(chance: random.Random, name: str) -> tuple[Document[object], ...]:
    rules: list[dict[str, Any]] = []
    for _ in range(4):
        kind = chance.choice(("Exact", "PathPrefix", "PathPrefix", "RegularExpression"))
        value = chance.choice(("/x.*", "/x/[y-z]+")) if kind[0] == "R" else chance.choice(PATHS)
        match: dict[str, Any] = {"path": {"type": kind, "value": value}}
        if chance.random() < 0.3:
            match["headers"] = [{"name": "x-h", "value": chance.choice(("1", "2"))}]
        if chance.random() < 0.2:
            match["method"] = chance.choice(("GET", "POST"))
        rules.append({"matches": [match], "backendRefs": [{"name": "a", "port": 9080}]})
    parents = chance.choice((WEB, GATEWAY, f"[{WEB[1:-1]}, {GATEWAY[1:-1]}]"))
    return route(name, rules, parents, chance.random())


def random_request(chance: random.Random) -> Request:
    headers = {"x-h": chance.choice(("1", "2", "12", ""))} if chance.random() < 0.6 else {}
    where = chance.choice(PATHS) + chance.choice(("", "", "?q=1", "?q=2"))
    host = "web.default.svc.cluster.local"
    return Request(host, where, chance.choice(("GET", "POST")), port=chance.choice((80, 9080)), headers=headers)


def unreachable(mesh: Mesh) -> dict[bool, set[tuple[object, object]]]:
    """The fields told about: those of sidecars (False) and those of gateways (True)."""
    told = [problem for problem in mesh.problems if problem.code == "unreachable"]
    inside = [problem for problem in told if "at Gateway" not in problem.message]
    outside = [problem for problem in told if "inside the mesh" not in problem.message]
    return {flag: {(each.object, each.path) for each in found} for flag, found in ((False, inside), (True, outside))}


@pytest.mark.parametrize("seed", [*range(20), 57, 321])
def test_no_random_request_comes_to_a_rule_that_is_told_about(seed: int) -> None:
    chance = random.Random(seed)
    if seed % 2:
        given = [random_virtual(chance, name, sides) for name, sides in (("v", "mesh, front"), ("w", "front"))]
    else:
        given = [random_route(chance, name) for name in ("r", "s", "t")]
    proxy = gateway_workload("front")
    mesh = Compiled(SERVICES, FRONT, *given, workloads=[proxy])
    apps = [workload("a"), workload("b"), workload("a", "v2")]
    edge = [proxy, replace(proxy, labels=labels_from_mapping({"app": "front"}))]
    views = [(build_view(mesh.mesh, each, mesh.memo), each.gateway is not None) for each in (*apps, *edge)]
    gone = unreachable(mesh.mesh)
    for _ in range(300):
        request = random_request(chance)
        for view, at_gateway in views:
            rule = evaluate(view, request).rule
            if rule is None or rule.object is None:
                continue
            top = ("spec", "http" if seed % 2 else "rules", rule.index)
            match = (*top, "match" if seed % 2 else "matches", rule.place)
            assert not {(rule.object, top), (rule.object, match)} & gone[at_gateway]
            assert (
                not {(rule.object, (*match, field)) for field in ("port", "gateways", "sourceNamespace")}
                & gone[at_gateway]
            )
