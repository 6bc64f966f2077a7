"""Several VirtualServices for one host of a Gateway: how their rules merge (Istio's order)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.evaluate import evaluate
from support.meshdocs import Compiled, documents, gateway_workload, request, service, short
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView
from weft.model.document import Document

SERVICES = "".join(map(service, "abde"))
FRONT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
"""
MATCHES = {
    "*": "",
    "/x": "match: [{uri: {prefix: /x}}], ",
    "/y": "match: [{uri: {prefix: /y}}], ",
    "any": "match: [{uri: {regex: '.*'}}], ",
    "blue": "match: [{sourceLabels: {app: blue}}], ",
    "edge": "match: [{sourceLabels: {app: edge}}], ",
}


def virtual(name: str, rules: str, created: float, namespace: str = "default") -> tuple[Document[object], ...]:
    """A VirtualService for x.example on Gateway front. Rules are ``MATCH SERVICE``."""
    pairs = [rule.split(" ") for rule in rules.split(", ")]
    http = ", ".join(f"{{{MATCHES[match]}route: [{{destination: {{host: {to}}}}}]}}" for match, to in pairs)
    text = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [x.example], gateways: [default/front], http: [{http}]}}
"""
    return documents(text, f"{name}.yaml", created)


@pytest.mark.parametrize(
    ("old", "young", "answers"),
    [
        ("/x a", "/y b", "a b 404"),
        ("* a", "/y b", "a b a"),
        ("any a", "/y b", "a b a"),
        ("* a", "* b", "a a a"),
        ("/x a, * a, /y d", "/y b", "a b a"),
        ("/x a", "/x b, /y b, * d", "a b d"),
        ("blue a, /y d", "/y b", "404 d 404"),
        ("edge a, /y d", "/y b", "a b a"),
    ],
)
def test_the_oldest_comes_first_and_rules_for_every_request_last(old: str, young: str, answers: str) -> None:
    """What stands in a document after its rule for every request stays without effect."""
    mesh = Compiled(SERVICES, FRONT, virtual("aa", young, 2.0), virtual("zz", old, 1.0))
    proxy = replace(gateway_workload("front"), labels=(("app", "edge"),))
    view = build_view(mesh.mesh, proxy, mesh.memo)
    assert isinstance(view, GatewayView)
    found = [short(evaluate(view, request(f"x.example{path}"))) for path in ("/x", "/y", "/z")]
    assert " ".join(each.partition(":")[0] for each in found) == answers
    assert "host-conflict" not in mesh.codes


def test_of_one_age_the_first_by_name_then_by_namespace_comes_first() -> None:
    far = service("c", namespace="another")
    mesh = Compiled(SERVICES, FRONT, far, virtual("b", "* a", 1.0, "another"), virtual("a", "* a", 1.0))
    assert short(mesh.knock("front", "x.example/")) == "a:9080"


def test_the_example_does_what_it_says() -> None:
    root = Path(__file__).parents[3]
    files = [
        *sorted((root / "src/weft/bookinfo/documents").glob("*.yaml")),
        root / "examples/virtualservices-one-host.yaml",
    ]
    mesh = Compiled(*(documents(file.read_text(), str(file), created=float(place)) for place, file in enumerate(files)))
    paths = [mesh.knock("bookinfo-gateway", f"site.example{path}").path for path in ("/ratings", "/productpage")]
    assert (paths, mesh.codes) == (["/api/v1/products/0/ratings", "/productpage"], [])


def test_routes_of_another_kind_do_not_share_the_host() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: front}]
  hostnames: [x.example]
  rules: [{matches: [{path: {value: /y}}], backendRefs: [{name: d, port: 9080}]}]
"""
    written = (virtual("aa", "/x a", 1.0), documents(route, "route.yaml", 2.0), virtual("zz", "* b", 3.0))
    mesh = Compiled(SERVICES, FRONT, *written)
    answers = [short(mesh.knock("front", f"x.example{path}")) for path in ("/x", "/y")]
    assert (answers, mesh.codes) == (["a:9080", "b:9080"], ["host-conflict"])
