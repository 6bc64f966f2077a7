"""GRPCRoute: matches, precedence, filters, backends, and whom it shares a host with."""

from __future__ import annotations

import itertools

import pytest

from support.evaluate import evaluate
from support.meshdocs import Compiled, documents, request, service, short, workload
from weft.mesh.routes.rules import Forward

SERVICES = "".join(service(name) for name in ("a", "b", "c", "web"))
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def route(rules: str, name: str = "r", kind: str = "GRPCRoute", parent: str = "", hosts: str = "") -> str:
    """A route for Service default/web, or another `parent`."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  parentRefs: [{parent or '{group: "", kind: Service, name: web}'}]
  {f"hostnames: [{hosts}]" if hosts else ""}
  rules:
{rules}"""


def to(service_name: str, match: str = "{}") -> str:
    """A rule with one match that goes to a service."""
    return f"  - matches: [{match}]\n    backendRefs: [{{name: {service_name}, port: 9080}}]\n"


STRONGER_FIRST = [
    "{method: {service: pkg.Long, method: Do}, headers: [{name: h, value: '1'}]}",
    "{method: {service: pkg.Long, method: Do}}",
    "{method: {service: pkg.Long}, headers: [{name: h, value: '1'}, {name: g, value: '1'}]}",
    "{method: {service: pkg.Long}}",
    "{method: {type: RegularExpression, service: 'pkg[.].*'}}",
    "{method: {method: Do}}",
    "{headers: [{name: h, value: '1'}, {name: g, value: '1'}]}",
    "{headers: [{name: h, value: '1'}]}",
    "{}",
]


@pytest.mark.parametrize("pair", list(itertools.combinations(range(len(STRONGER_FIRST)), 2)))
@pytest.mark.parametrize("turned", [False, True])
def test_the_stronger_match_wins_wherever_it_stands(pair: tuple[int, int], turned: bool) -> None:
    rules = [to("a", STRONGER_FIRST[pair[0]]), to("b", STRONGER_FIRST[pair[1]])]
    mesh = Compiled(SERVICES, route("".join(reversed(rules) if turned else rules)))
    verdict = mesh.ask("web:9080/pkg.Long/Do", method="POST", headers={"h": "1", "g": "1"})
    assert short(verdict) == "a:9080"


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ("{method: {service: a.B, method: C}}", {"/a.B/C"}),
        ("{method: {service: a.B}}", {"/a.B/C", "/a.B/D", "/a.B/C/E"}),
        ("{method: {method: C}}", {"/a.B/C", "/a.BB/C"}),
        ("{method: {type: RegularExpression, service: 'a[.]B+', method: 'C|E'}}", {"/a.B/C", "/a.BB/C"}),
        ("{method: {type: RegularExpression, method: '[CD]'}}", {"/a.B/C", "/a.B/D", "/a.BB/C"}),
        ("{}", {"/a.B/C", "/a.B/D", "/a.BB/C", "/a.B/C/E"}),
    ],
)
def test_a_method_is_the_path(match: str, taken: set[str]) -> None:
    mesh = Compiled(SERVICES, route(to("a", match)))
    paths = ("/a.B/C", "/a.B/D", "/a.BB/C", "/a.B/C/E")
    found = {path for path in paths if short(mesh.ask(f"web{path}")) == "a:9080"}
    assert found == taken
    assert mesh.codes == []


def test_rules_of_several_routes_merge_and_the_oldest_wins_a_tie() -> None:
    young = documents(route(to("a", "{method: {service: s}}") + to("b", "{method: {service: s, method: M}}"), "aaa"),
                      created=20.0)  # fmt: skip
    old = documents(route(to("c", "{method: {service: s}}"), "zzz"), created=10.0)
    mesh = Compiled(SERVICES, young, old)
    assert short(mesh.ask("web/s/N")) == "c:9080"
    assert short(mesh.ask("web/s/M")) == "b:9080"


def test_missing_backends_are_unavailable_for_their_share() -> None:
    rules = "  - backendRefs: [{name: a, port: 9080}, {name: gone, port: 1}]\n"
    mesh = Compiled(SERVICES, route(rules))
    assert mesh.codes == ["unknown-service"]
    view = mesh.sidecar()
    found = [short(evaluate(view, request("web/s/M", random=number))) for number in (0.1, 0.9)]
    assert found == ["a:9080", "503"]


@pytest.mark.parametrize("backends", ["[]", "[{name: gone, port: 1}]", "[{name: a, port: 9080, weight: 0}]"])
def test_a_rule_without_a_living_backend_is_unavailable(backends: str) -> None:
    mesh = Compiled(SERVICES, route(f"  - backendRefs: {backends}\n"))
    assert short(mesh.ask("web/s/M")) == "503"


def test_filters_change_headers_and_copy_calls() -> None:
    rules = """
  - name: all
    filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "1"}]}}
      - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-B]}}
      - {type: RequestMirror, requestMirror: {backendRef: {name: c, port: 9080}, percent: 50}}
    backendRefs:
      - name: a
        port: 9080
        filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-C, value: "2"}]}}]
"""
    verdict = Compiled(SERVICES, route(rules)).ask("web/s/M")
    assert [(change.set, change.add) for change in verdict.request] == [((("x-a", "1"),), ()), ((), (("x-c", "2"),))]
    assert verdict.rule is not None
    assert verdict.rule.name == "all"
    assert isinstance(verdict.rule.action, Forward)
    assert [mirror.percent for mirror in verdict.rule.action.mirrors] == [50.0]


@pytest.mark.parametrize(("http_age", "grpc_age"), [(1.0, 2.0), (2.0, 1.0)])
def test_a_services_grpcroute_takes_it_from_its_httproutes(http_age: float, grpc_age: float) -> None:
    http = documents(route(to("a"), "http", "HTTPRoute"), created=http_age)
    grpc = documents(route(to("b"), "grpc"), created=grpc_age)
    mesh = Compiled(SERVICES, http, grpc)
    assert short(mesh.ask("web/s/M")) == "b:9080"
    assert [(bad.code, bad.object and bad.object.name) for bad in mesh.mesh.problems] == [("kind-conflict", "http")]
    conditions = {each.route.name: each.parents[0].conditions[0] for each in mesh.mesh.acceptance}
    assert (conditions["http"].status, conditions["http"].reason) == (False, "Conflicted")
    assert conditions["grpc"].status


def test_an_older_virtual_service_keeps_the_host() -> None:
    older = documents(
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec: {hosts: [web], http: [{route: [{destination: {host: c}}]}]}
""",
        created=1.0,
    )
    mesh = Compiled(SERVICES, older, documents(route(to("a")), created=2.0))
    assert short(mesh.ask("web/s/M")) == "c:9080"
    assert mesh.codes == ["host-conflict"]


OVERLAPS = [("a.example.com", "a.example.com"), ("'*.example.com'", "a.example.com"), ("", "a.example.com"), ("", "")]


@pytest.mark.parametrize("hosts", OVERLAPS)
@pytest.mark.parametrize("turned", [False, True])
def test_at_a_listener_the_older_of_overlapping_kinds_is_taken(hosts: tuple[str, str], turned: bool) -> None:
    first, second = reversed(hosts) if turned else hosts
    edge = "{name: edge}"
    http = documents(route(to("a"), "http", "HTTPRoute", edge, first), created=1.0)
    grpc = documents(route(to("b"), "grpc", "GRPCRoute", edge, second), created=2.0)
    mesh = Compiled(SERVICES, GATEWAY, http, grpc)
    assert short(mesh.knock("edge", "a.example.com/s/M")) == "a:9080"
    assert mesh.codes == ["kind-conflict"]
    conditions = {each.route.name: each.parents[0].conditions[0] for each in mesh.mesh.acceptance}
    assert (conditions["grpc"].status, conditions["grpc"].reason) == (False, "Conflicted")


def test_kinds_of_different_hosts_share_a_listener() -> None:
    edge = "{name: edge}"
    http = route(to("a"), "http", "HTTPRoute", edge, "a.example.com")
    grpc = route(to("b"), "grpc", "GRPCRoute", edge, "b.example.com")
    mesh = Compiled(SERVICES, GATEWAY, http, grpc)
    assert short(mesh.knock("edge", "a.example.com/s/M")) == "a:9080"
    assert short(mesh.knock("edge", "b.example.com/s/M")) == "b:9080"
    assert mesh.codes == []


def test_a_refused_route_refuses_nobody() -> None:
    edge = "{name: edge}"
    first = documents(route(to("a"), "first", "HTTPRoute", edge, "a.example.com"), created=1.0)
    second = documents(route(to("b"), "second", "GRPCRoute", edge, "a.example.com, b.example.com"), created=2.0)
    third = documents(route(to("c"), "third", "HTTPRoute", edge, "b.example.com"), created=3.0)
    mesh = Compiled(SERVICES, GATEWAY, first, second, third)
    assert short(mesh.knock("edge", "b.example.com/s/M")) == "c:9080"
    assert {bad.object.name for bad in mesh.mesh.problems if bad.object} == {"second"}


def test_another_namespace_needs_a_grant_for_grpcroutes() -> None:
    far = service("far", namespace="other")
    rules = "  - backendRefs: [{name: far, namespace: other, port: 9080}]\n"
    grant = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: KIND, namespace: default}]
  to: [{group: "", kind: Service}]
"""
    wrong = Compiled(SERVICES, far, route(rules), grant.replace("KIND", "HTTPRoute"))
    assert (short(wrong.ask("web/s/M")), wrong.codes) == ("503", ["reference-not-granted"])
    right = Compiled(SERVICES, far, route(rules), grant.replace("KIND", "GRPCRoute"))
    assert (short(right.ask("web/s/M", workload("client"))), right.codes) == ("far.other:9080", [])
