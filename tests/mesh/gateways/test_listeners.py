"""Bad listeners and backends: each is refused by itself, the rest of the document is in force."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, short
from weft.mesh.gateways.gateway_api import route_kinds_of
from weft.mesh.gateways.status import gateway_conditions, listener_statuses
from weft.mesh.routes.acceptance import Condition
from weft.schema.decode import decode_documents
from weft.schema.kinds.gateway import GatewaySpec

ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{name: a, port: 9080}]}]
"""
PLAIN = "name: http, port: 80, protocol: HTTP"


def gateway(*listeners: str) -> str:
    items = "".join(f"\n  - {{{each}}}" for each in listeners)
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: weft
  listeners:{items}
"""


def conditions(*listeners: str) -> tuple[dict[str, list[Condition]], tuple[Condition, ...]]:
    """The conditions of each listener that are not the usual ones, and those of the Gateway."""
    text = gateway(*listeners)
    mesh = Compiled(service("a"), text, ROUTE).mesh
    [document] = documents(text)
    assert isinstance(document.spec, GatewaySpec)
    problems = [problem for problem in mesh.problems if problem.object == document.key]
    found = listener_statuses(document.key, mesh.gateways, problems)
    unusual = {
        each.name: [one for one in each.conditions if one.status is (one.type == "Conflicted")] for each in found
    }
    return unusual, gateway_conditions(found, served=True)


BAD = [
    ("name: bad, port: 443, protocol: HBONE", "unsupported-protocol", "protocol"),
    ("name: bad, port: 8080, protocol: example.com/QUIC", "unsupported-protocol", "protocol"),
    ("name: bad, port: 443, protocol: HTTPS", "no-certificate", ""),
    ("name: bad, port: 443, protocol: HTTPS, tls: {}", "no-certificate", "tls"),
    (
        "name: bad, port: 443, protocol: HTTPS, tls: {certificateRefs: [{kind: ConfigMap, name: c}]}",
        "bad-certificate",
        "tls.certificateRefs[0].kind",
    ),
]


@pytest.mark.parametrize(("listener", "code", "field"), BAD)
def test_one_bad_listener_leaves_the_others_in_force(listener: str, code: str, field: str) -> None:
    mesh = Compiled(service("a"), gateway(listener, PLAIN), ROUTE)
    [problem] = mesh.mesh.problems
    assert (problem.code, str(problem).split(": ")[2]) == (code, f"spec.listeners[0]{'.' if field else ''}{field}")
    assert short(mesh.knock("front", "any.example/")) == "a:9080"
    assert [port.port for port in mesh.gateway("front").ports] == [80]


def test_the_conditions_name_the_reason() -> None:
    found, whole = conditions("name: tls, port: 443, protocol: HBONE", "name: bare, port: 444, protocol: HTTPS", PLAIN)
    assert [(one.type, one.reason) for one in found["tls"]] == [
        ("Accepted", "UnsupportedProtocol"),
        ("Programmed", "Invalid"),
    ]
    assert [(one.type, one.reason) for one in found["bare"]] == [
        ("Programmed", "Invalid"),
        ("ResolvedRefs", "InvalidCertificateRef"),
    ]
    assert found["http"] == []
    assert [(one.type, one.status, one.reason, one.message) for one in whole] == [
        ("Accepted", True, "ListenersNotValid", "not accepted: tls"),
        ("Programmed", True, "Programmed", ""),
    ]


def test_of_listeners_that_cannot_share_a_port_none_is_in_force() -> None:
    both = ("name: plain, port: 80, protocol: HTTP", "name: tls, port: 80, protocol: HTTPS")
    found, whole = conditions(*both)
    for name in ("plain", "tls"):
        kinds = [(one.type, one.status, one.reason) for one in found[name]]
        assert ("Conflicted", True, "ProtocolConflict") in kinds
        assert ("Accepted", False, "ProtocolConflict") in kinds
    assert [one.status for one in whole] == [False, False]
    alone = Compiled(service("a"), gateway(*both, "name: http, port: 81, protocol: HTTP"), ROUTE)
    assert [port.port for port in alone.gateway("front").ports] == [81]


def test_kinds_of_routes_that_a_listener_has_not_are_left_out_of_those_let_in() -> None:
    kinds = "allowedRoutes: {kinds: [{kind: HTTPRoute}, {kind: UDPRoute}]}"
    mesh = Compiled(service("a"), gateway(f"{PLAIN}, {kinds}"), ROUTE)
    assert (mesh.codes, short(mesh.knock("front", "any.example/"))) == (["invalid-route-kind"], "a:9080")
    found, whole = conditions(f"{PLAIN}, {kinds}")
    assert [one.reason for one in found["http"]] == ["InvalidRouteKinds"]
    assert whole[0] == Condition("Accepted", True, "Accepted")
    other = f"{PLAIN}, allowedRoutes: {{kinds: [{{kind: HTTPRoute}}, {{group: example.com, kind: HTTPRoute}}]}}"
    assert Compiled(service("a"), gateway(other), ROUTE).codes == ["invalid-route-kind"]
    none = Compiled(service("a"), gateway(f"{PLAIN}, allowedRoutes: {{kinds: [{{kind: UDPRoute}}]}}"), ROUTE)
    assert none.codes == ["invalid-route-kind", "not-allowed"]


def test_a_route_to_a_listener_with_errors_hears_so() -> None:
    route = ROUTE.replace("name: front", "name: front, sectionName: bad")
    mesh = Compiled(service("a"), gateway(BAD[0][0], PLAIN), route)
    [problem] = [problem for problem in mesh.mesh.problems if problem.object and problem.object.kind == "HTTPRoute"]
    assert problem.message == "Gateway default/front has a listener 'bad' with errors, so it is not in force"


@pytest.mark.parametrize(
    "reference",
    [
        "kind: Pod, name: a",
        "group: example.com, kind: Bucket, name: a, port: 80",
        "group: multicluster.x-k8s.io, kind: ServiceImport, name: a, port: 80",
    ],
)
def test_one_bad_backend_answers_500_for_its_share_only(reference: str) -> None:
    route = ROUTE.replace("[{name: a, port: 9080}]", f"[{{name: a, port: 9080}}, {{{reference}}}]")
    mesh = Compiled(service("a"), gateway(PLAIN), route)
    [problem] = mesh.mesh.problems
    assert (problem.code, problem.path) == ("invalid-kind", ("spec", "rules", 0, "backendRefs", 1, "kind"))
    shares = [short(mesh.knock("front", "any.example/", random=chance)) for chance in (0.4, 0.6)]
    assert shares == ["a:9080", "500"]
    [status] = mesh.mesh.acceptance
    assert [(one.status, one.reason) for one in status.parents[0].conditions] == [
        (True, "Accepted"),
        (False, "InvalidKind"),
    ]


def test_a_mirror_to_what_is_no_service_is_left_out() -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {kind: Pod, name: p}}}"
    route = ROUTE.replace("- {", "- {").replace("rules: [{", f"rules: [{{filters: [{mirror}], ")
    mesh = Compiled(service("a"), gateway(PLAIN), route)
    assert (mesh.codes, short(mesh.knock("front", "any.example/"))) == (["invalid-kind"], "a:9080")


@pytest.mark.parametrize(("mode", "carried"), [("Passthrough", ("TLSRoute",)), ("Terminate", ("TCPRoute", "TLSRoute"))])
def test_tls_that_is_passed_on_is_for_tlsroutes_alone(mode: str, carried: tuple[str, ...]) -> None:
    kinds = "allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}"
    reference = ", certificateRefs: [{name: none}]" if mode == "Terminate" else ""
    text = gateway(f"name: a, protocol: TLS, port: 443, tls: {{mode: {mode}{reference}}}, {kinds}")
    [document] = documents(text)
    assert isinstance(document.spec, GatewaySpec)
    assert route_kinds_of(document.spec.listeners[0]) == carried
    assert ("invalid-route-kind" in Compiled(text).codes) == (mode == "Passthrough")


def test_a_kind_of_route_of_somebody_else_is_told_and_no_typing_error() -> None:
    kinds = "allowedRoutes: {kinds: [{kind: CustomRoute}, {kind: TCPRoute}]}"
    text = gateway(f"name: a, protocol: TCP, port: 80, {kinds}")
    mesh = Compiled(text)
    assert mesh.codes == ["invalid-route-kind"]
    assert len(mesh.gateway("front").ports) == 1
    [problem] = decode_documents(text.replace("CustomRoute", "TPCRoute"), "a.yaml").problems
    assert problem.nearest == "TCPRoute"
