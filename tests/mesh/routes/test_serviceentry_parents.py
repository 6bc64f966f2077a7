"""Routes of the Gateway API for hosts of ServiceEntries, and to hosts by name, as Istio has them written."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, service, short, workload
from weft.mesh.routes.status import parents_mapping
from weft.schema.decode import decode_documents

FAR = workload("client", namespace="far")


def entry(name: str = "outside", namespace: str = "default", hosts: str = "api.example.com", more: str = "") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: tls, protocol: TLS}}]
  resolution: STATIC
  endpoints: [{{address: 192.0.2.1}}]
  {more}
"""


def route(
    backend: str,
    parent: str = "{group: networking.istio.io, kind: ServiceEntry, name: outside}",
    more: str = "",
    kind: str = "HTTPRoute",
    namespace: str = "default",
) -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: r, namespace: {namespace}}}
spec:
  parentRefs: [{parent}]
  {more}
  rules: [{{backendRefs: [{backend}]}}]
"""


def host(name: str, port: int = 80, more: str = "") -> str:
    return f"{{group: networking.istio.io, kind: Hostname, name: {name}, port: {port}{more}}}"


HERE = "{name: here, port: 9080}"
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: far}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""


def test_callers_of_the_host_follow_the_route_and_others_do_not() -> None:
    mesh = Compiled(service("here"), entry(hosts="api.example.com, www.example.com"), route(HERE))
    assert [short(mesh.ask(each)) for each in ("api.example.com", "www.example.com")] == ["here:9080"] * 2
    assert mesh.codes == []
    [status] = mesh.mesh.acceptance
    [parent] = parents_mapping(status)
    assert parent["parentRef"] == {
        "group": "networking.istio.io",
        "kind": "ServiceEntry",
        "namespace": "default",
        "name": "outside",
    }
    without = Compiled(service("here"), entry())
    assert short(without.ask("api.example.com")) == "api.example.com:80"


def test_a_host_by_name_is_a_backend_with_all_of_a_route() -> None:
    timed = route(host("api.example.com")).replace("rules: [{", "rules: [{timeouts: {request: 3s}, ")
    mesh = Compiled(entry(), timed)
    verdict = mesh.ask("api.example.com")
    assert (short(verdict), mesh.codes) == ("api.example.com:80", [])
    assert verdict.rule is not None
    assert verdict.rule.action.timeout == 3.0  # type: ignore[union-attr] # it forwards


def test_hostnames_choose_among_the_hosts() -> None:
    some = route(HERE, more="hostnames: [api.example.com]")
    mesh = Compiled(service("here"), entry(hosts="api.example.com, www.example.com"), some)
    assert short(mesh.ask("api.example.com")) == "here:9080"
    assert short(mesh.ask("www.example.com")) == "www.example.com:80"
    assert mesh.codes == []
    other = Compiled(service("here"), entry(), route(HERE, more="hostnames: [other.example.com]"))
    assert other.codes == ["no-matching-host"]
    assert short(other.ask("api.example.com")) == "api.example.com:80"
    [refused, _] = conditions(other)
    assert (refused["status"], refused["reason"]) == ("False", "NoMatchingListenerHostname")


def test_a_hostname_takes_no_more_than_itself_of_a_wildcard() -> None:
    wild = entry(hosts='"*.example.com"').replace("STATIC", "NONE").replace("endpoints:", "# endpoints:")
    one = Compiled(service("here"), wild, route(HERE, more="hostnames: [a.example.com]"))
    assert one.codes == ["no-matching-host"]
    assert [short(one.ask(each)) for each in ("a.example.com", "b.example.com")] == ["*.example.com:80"] * 2
    every = Compiled(service("here"), wild, route(HERE, more='hostnames: ["*.com"]'))
    assert (every.codes, short(every.ask("b.example.com"))) == ([], "here:9080")


def test_an_entry_of_which_another_document_has_one_host_takes_the_route_in_part() -> None:
    first = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [www.example.com], http: [{route: [{destination: {host: www.example.com}}]}]}
"""
    mesh = Compiled(service("here"), entry(hosts="api.example.com, www.example.com"), first, route(HERE))
    assert short(mesh.ask("api.example.com")) == "here:9080"
    assert short(mesh.ask("www.example.com")) == "www.example.com:80"
    assert [(each["type"], each["status"]) for each in conditions(mesh)] == [
        ("Accepted", "True"),
        ("PartiallyInvalid", "True"),
        ("ResolvedRefs", "True"),
    ]


def conditions(mesh: Compiled) -> list[dict[str, object]]:
    """How the only parent of HTTPRoute r took it."""
    [status] = [each for each in mesh.mesh.acceptance if each.route.kind == "HTTPRoute"]
    [parent] = parents_mapping(status)
    return parent["conditions"]  # type: ignore[return-value] # a list of mappings


@pytest.mark.parametrize(
    ("parent", "code"),
    [
        ("{group: networking.istio.io, kind: ServiceEntry, name: outsid}", "unknown-service"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: outside, namespace: far}", "unknown-service"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: outside, port: 81}", "unknown-port"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: outside, sectionName: http2}", "unknown-port"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: outside, port: 443}", "not-http"),
    ],
)
def test_a_parent_that_is_not_there_is_told(parent: str, code: str) -> None:
    mesh = Compiled(service("here"), entry(), entry("other", "far", "far.example.com"), route(HERE, parent))
    assert mesh.codes == [code]
    assert short(mesh.ask("api.example.com")) == "api.example.com:80"


def test_the_nearest_entry_is_named() -> None:
    wrong = "{group: networking.istio.io, kind: ServiceEntry, name: outsid}"
    [problem] = Compiled(service("here"), entry(), route(HERE, wrong)).mesh.problems
    assert "'outsid'" in problem.message
    assert problem.nearest == "outside"


def test_the_service_of_a_gateway_is_to_be_written() -> None:
    [problem] = Compiled(entry(), route("{name: egress-istio, port: 80}")).mesh.problems
    assert problem.code == "unknown-service"
    assert problem.expected.endswith("gateway.networking.k8s.io/gateway-name: egress")


def test_a_namespace_routes_its_own_callers_and_no_others() -> None:
    parent = "{group: networking.istio.io, kind: ServiceEntry, name: outside, namespace: default}"
    texts = service("here", namespace="far"), entry(), route(HERE, parent, namespace="far")
    mesh = Compiled(*texts)
    assert short(mesh.ask("api.example.com", FAR)) == "here.far:9080"
    assert short(mesh.ask("api.example.com")) == "api.example.com:80"
    hidden = Compiled(service("here", namespace="far"), entry(more="exportTo: ['.']"), texts[2])
    assert hidden.codes == ["unknown-service"]


@pytest.mark.parametrize(
    ("backend", "code", "names"),
    [
        (host("none.example.com"), "unknown-host", "ServiceEntry"),
        (host("api.example.com", 81), "unknown-port", "80, 443"),
        (host("web.far.svc.cluster.local", 9080), "reference-not-granted", "namespace 'far'"),
        (host("herr.default.svc.cluster.local", 9080), "unknown-host", "herr"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: outside, port: 80}", "invalid-kind", "ServiceEntry"),
    ],
)
def test_a_host_that_may_not_be_called_answers_500_and_is_told(backend: str, code: str, names: str) -> None:
    mesh = Compiled(service("here"), service("web", namespace="far"), entry(), route(backend))
    [problem] = mesh.mesh.problems
    assert problem.code == code
    assert names in f"{problem.message} {problem.expected}"
    assert short(mesh.ask("api.example.com")) == "500"


def test_a_grant_is_asked_for_by_whatever_name_a_service_is_called() -> None:
    to = route(host("web.far.svc.cluster.local", 9080))
    mesh = Compiled(service("web", namespace="far"), entry(), to, GRANT)
    assert (short(mesh.ask("api.example.com")), mesh.codes) == ("web.far:9080", [])


def test_an_entry_that_is_not_exported_is_no_backend() -> None:
    mesh = Compiled(
        entry(), entry("other", "far", "far.example.com", "exportTo: ['.']"), route(host("far.example.com"))
    )
    assert mesh.codes == ["unknown-host"]


@pytest.mark.parametrize("kind", ["TCPRoute", "TLSRoute"])
def test_connections_of_the_host_are_carried_elsewhere(kind: str) -> None:
    parent = "{group: networking.istio.io, kind: ServiceEntry, name: outside, port: 443}"
    mesh = Compiled(
        entry(), entry("other", hosts="else.example.com"), route(host("else.example.com", 443), parent, kind=kind)
    )
    assert mesh.codes == []
    [status] = mesh.mesh.acceptance
    assert [each.reason for each in status.parents[0].conditions] == ["Accepted", "ResolvedRefs"]
    table = mesh.mesh.routes.of("default").hosts["api.example.com"].connections[443]
    assert [each.backend.host for rule in table for each in rule.route.backends if each.backend] == ["else.example.com"]


def test_datagrams_have_no_such_parent() -> None:
    mesh = Compiled(entry(), route(host("api.example.com"), kind="UDPRoute"))
    assert "udp-in-mesh" in mesh.codes


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (route(HERE, "{kind: ServiceEntry, name: outside}"), "spec.parentRefs[0].group", "group: networking.istio.io"),
        (
            route(HERE, "{group: networking.istio.io, kind: Gateway, name: outside}"),
            "spec.parentRefs[0].kind",
            "kind: ServiceEntry",
        ),
        (
            route(HERE, "{group: networking.istio.io, kind: Service, name: here}"),
            "spec.parentRefs[0].kind",
            "kind: ServiceEntry",
        ),
        (
            route("{group: networking.istio.io, kind: Hostname, name: api.example.com}"),
            "spec.rules[0].backendRefs[0]",
            "port",
        ),
        (
            route(host("api.example.com", more=", namespace: default")),
            "spec.rules[0].backendRefs[0].namespace",
            "no namespace",
        ),
    ],
)
def test_what_is_written_wrongly_is_told_at_its_place(text: str, path: str, words: str) -> None:
    [problem] = decode_documents(text, "a.yaml").problems
    assert problem.severity.value == "error"
    assert ".".join(map(str, problem.path)).replace(".0", "[0]") == path
    assert words in f"{problem.message} {problem.expected}"
