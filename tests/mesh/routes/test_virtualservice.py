"""VirtualService: matches, actions, destinations, claims."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, documents, endpoints, service, short, workload
from weft.mesh.routes.rules import Cors, Fault, Forward, HeaderChanges, Retry, TextMatch
from weft.mesh.routes.virtualservice_forward import header_changes, split_host
from weft.model.labels import labels_from_mapping
from weft.schema.kinds.virtualservice import HeaderOperations

SUBSETS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
"""
SERVICES = service("web") + service("other") + service("two", 80, 81) + SUBSETS


def virtual(http: str, *, name: str = "vs", namespace: str = "default", hosts: str = "web", extra: str = "") -> str:
    """A VirtualService with these http rules."""
    return f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
{extra}  http:
{http}"""


def to(subset: str, match: str = "", more: str = "") -> str:
    """A rule to a subset of web."""
    condition = f"match: [{match}], " if match else ""
    return f"  - {{{condition}route: [{{destination: {{host: web, subset: {subset}}}}}]{more}}}\n"


def action(text: str, **fields: Any) -> Forward:
    """The action of the rule that a plain request meets."""
    verdict = Compiled(SERVICES, text).ask("web:9080/", **fields)
    assert verdict.rule is not None
    assert isinstance(verdict.rule.action, Forward)
    return verdict.rule.action


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        ("{uri: {exact: /x}}", "web/x?q", "web/x/"),
        ("{uri: {prefix: /x}}", "web/xyz", "web/y"),
        ("{uri: {regex: '/x[0-9]+'}}", "web/x12", "web/x12y"),
        ("{uri: {exact: /X}, ignoreUriCase: true}", "web/x", "web/y"),
        ("{authority: {exact: web}}", "web/", "web:9080/"),
        ("{queryParams: {q: {exact: a}}}", "web/?q=a", "web/?q=b"),
        ("{queryParams: {q: {regex: '[a-c]'}}}", "web/?z&q=b", "web/?q=bb"),
        ("{port: 9080}", "web:9080/", ""),
    ],
)
def test_matches_on_the_address(match: str, good: str, bad: str) -> None:
    mesh = Compiled(SERVICES, virtual(to("v2", match) + to("v1")))
    assert short(mesh.ask(good)) == "v2"
    assert not bad or short(mesh.ask(bad)) == "v1"


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        ("{headers: {End-User: {exact: jason}}}", {"end-user": "jason"}, {}),
        ("{headers: {end-user: {prefix: ja}}}", {"end-user": "jason"}, {"end-user": "x"}),
        ("{headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}}", {"cookie": "a=b;user=jason"}, {"cookie": "b"}),
        ("{headers: {end-user: {}}}", {"end-user": "any"}, {}),
        ("{withoutHeaders: {end-user: {}}}", {}, {"end-user": "any"}),
        ("{withoutHeaders: {end-user: {exact: jason}}}", {"end-user": "x"}, {"end-user": "jason"}),
    ],
)
def test_matches_on_headers(match: str, good: dict[str, str], bad: dict[str, str]) -> None:
    mesh = Compiled(SERVICES, virtual(to("v2", match) + to("v1")))
    assert short(mesh.ask("web/", headers=good)) == "v2"
    assert short(mesh.ask("web/", headers=bad)) == "v1"


def test_matches_on_method_and_scheme_and_any_of_several() -> None:
    mesh = Compiled(SERVICES, virtual(to("v2", "{method: {exact: POST}}, {scheme: {exact: https}}") + to("v1")))
    assert short(mesh.ask("web/", method="POST")) == "v2"
    assert short(mesh.ask("web/", scheme="https")) == "v2"
    assert short(mesh.ask("web/")) == "v1"


def test_matches_on_the_caller() -> None:
    rules = to("v2", "{sourceLabels: {app: client}}") + to("v3", "{sourceNamespace: far}") + to("v1")
    mesh = Compiled(SERVICES, virtual(rules))
    assert short(mesh.ask("web/")) == "v2"
    stranger = workload("stranger")
    assert short(mesh.ask("web/", stranger)) == "v1"
    assert short(mesh.ask("web.default/", workload("stranger", namespace="far"))) == "v3"
    assert all(not rule.source.labels for rule in mesh.sidecar(stranger).outbound.virtual_hosts[0].rules)


def test_rules_are_tried_in_the_order_written() -> None:
    mesh = Compiled(SERVICES, virtual(to("v1", "{uri: {prefix: /}}") + to("v2", "{uri: {exact: /x}}")))
    assert short(mesh.ask("web/x")) == "v1"


def test_a_rule_of_another_port_or_gateway_is_not_in_force() -> None:
    port = "  - {match: [{port: 81}], route: [{destination: {host: web}}]}\n"
    mesh = Compiled(SERVICES, virtual(port, hosts="two"))
    assert (short(mesh.ask("two:81/")), short(mesh.ask("two:80/"))) == ("web:9080", "404")
    gateway = to("v2", "{gateways: [front]}") + to("v1")
    assert short(Compiled(SERVICES, virtual(gateway)).ask("web/")) == "v1"


def test_weights_and_a_single_destination_without_weight() -> None:
    text = virtual("""
  - route:
    - {destination: {host: web, subset: v1}, weight: 90}
    - {destination: {host: web, subset: v2}, weight: 10}
""")
    verdict = Compiled(SERVICES, text).ask("web/", random=0.91)
    assert ([share for _, share in verdict.backends], short(verdict)) == ([0.9, 0.1], "v2")
    assert action(virtual(to("v1"))).backends[0].weight == 1


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("match: [{uri: {prefix: /a/}}], rewrite: {uri: /b/}", "/b/x?q=1"),
        ("match: [{uri: {exact: /a/x}}], rewrite: {uri: /b}", "/b?q=1"),
        ("match: [{uri: {regex: '/a/.*'}}], rewrite: {uri: /b}", "/b?q=1"),
        ("rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/c/\\1/d'}}", "/c/x/d?q=1"),
    ],
)
def test_path_rewrites(rule: str, expected: str) -> None:
    mesh = Compiled(SERVICES, virtual(f"  - {{{rule}, route: [{{destination: {{host: web}}}}]}}\n"))
    assert mesh.ask("web/a/x?q=1").path == expected


def test_headers_of_rule_and_destination_and_the_authority() -> None:
    text = virtual("""
  - headers: {request: {set: {X-A: '1'}, remove: [X-B]}, response: {add: {X-C: '2'}}}
    rewrite: {authority: inner.example}
    route:
    - destination: {host: web, subset: v1}
      headers: {request: {add: {X-D: '3'}}, response: {remove: [x-powered-by]}}
""")
    verdict = Compiled(SERVICES, text).ask("web/")
    assert verdict.host == "inner.example"
    assert (verdict.request[0].set, verdict.request[0].remove) == ((("x-a", "1"),), ("x-b",))
    assert verdict.request[1].add == (("x-d", "3"),)
    assert verdict.response[1].remove == ("x-powered-by",)


def test_setting_the_host_header_rewrites_the_host() -> None:
    text = virtual("""
  - headers: {request: {set: {Host: outer.example, X-A: '1'}}}
    route:
    - destination: {host: web, subset: v1}
      headers: {request: {set: {":authority": inner.example}}}
""")
    verdict = Compiled(SERVICES, text).ask("web/")
    assert verdict.host == "inner.example"
    assert verdict.request[0].set == (("x-a", "1"),)
    operations = HeaderOperations(set={"Host": "outer.example", "X-A": "1"}, remove=(":authority",))
    assert split_host(header_changes(operations)) == ("outer.example", HeaderChanges(set=(("x-a", "1"),)))


def test_redirect_and_direct_response() -> None:
    redirect = virtual("  - redirect: {uri: /new, authority: new.example, redirectCode: 308}\n")
    verdict = Compiled(SERVICES, redirect).ask("web/x?q=1")
    assert (verdict.status, verdict.location) == (308, "http://new.example/new?q=1")
    direct = virtual("  - directResponse: {status: 418, body: {string: tea}}\n")
    verdict = Compiled(SERVICES, direct).ask("web/")
    assert (verdict.status, verdict.body) == (418, b"tea")


def test_faults_old_and_new_spelling() -> None:
    text = """
  - fault: {delay: {fixedDelay: 7s, percentage: {value: 12.5}}, abort: {httpStatus: 555, percent: 5}}
    route: [{destination: {host: web, subset: v1}}]
"""
    mesh = Compiled(SERVICES, virtual(text))
    outcomes = [mesh.ask("web/", random=point) for point in (0.01, 0.1, 0.2)]
    assert [(item.delay, short(item)) for item in outcomes] == [(7.0, "555"), (7.0, "v1"), (0.0, "v1")]
    abort = "{grpcStatus: UNAVAILABLE, percentage: {value: 100}}"
    grpc = virtual(f"  - {{fault: {{abort: {abort}}}, route: [{{destination: {{host: web}}}}]}}\n")
    rule = Compiled(SERVICES, grpc).ask("web/").rule
    assert rule is not None
    assert rule.fault == Fault(abort_grpc=14)


def test_retries_timeouts_mirrors_cors() -> None:
    assert action(virtual(to("v1"))).retry is None
    istio = ("connect-failure", "refused-stream", "unavailable", "cancelled", "503")
    found = action(virtual(to("v1", more=", timeout: 500ms, retries: {attempts: 3, perTryTimeout: 2s}")))
    assert found.timeout == 0.5
    assert found.retry is not None
    assert (*found.retry.conditions, *map(str, found.retry.codes)) == istio
    assert (found.retry.attempts, found.retry.per_try_timeout) == (3, 2.0)
    assert action(virtual(to("v1", more=", retries: {attempts: 0}"))).retry == Retry(0)
    assert action(virtual(to("v1", more=", retries: {perTryTimeout: 2s}"))).retry == Retry(0)
    custom = action(virtual(to("v1", more=", retries: {attempts: 1, retryOn: 'gateway-error,503, 504'}"))).retry
    assert custom is not None
    assert (custom.conditions, custom.codes) == (("gateway-error",), (503, 504))
    mirror = ", mirror: {host: web, subset: v2}, mirrorPercentage: {value: 10}"
    mirrored = action(virtual(to("v1", more=mirror))).mirrors
    assert [(item.backend.subset, item.percent) for item in mirrored] == [("v2", 10.0)]
    several = action(virtual(to("v1", more=", mirrors: [{destination: {host: other}}]"))).mirrors
    assert [(item.backend.host[:5], item.percent) for item in several] == [("other", 100.0)]
    origins = "allowOrigins: [{prefix: 'https://'}]"
    cors = f", corsPolicy: {{{origins}, allowMethods: [GET], maxAge: 24h, allowCredentials: true}}"
    rule = Compiled(SERVICES, virtual(to("v1", more=cors))).ask("web/").rule
    assert rule is not None
    assert rule.cors == Cors((TextMatch("prefix", "https://"),), ("GET",), max_age=86400.0, credentials=True)


@pytest.mark.parametrize(
    ("written", "forward"),
    [("", True), ("FORWARD", True), ("UNSPECIFIED", True), ("IGNORE", False)],
)
def test_preflights_of_other_origins_are_forwarded_unless_a_policy_says_ignore(written: str, forward: bool) -> None:
    unmatched = f", unmatchedPreflights: {written}" if written else ""
    cors = f", corsPolicy: {{allowOrigins: [{{exact: 'https://a.example'}}]{unmatched}}}"
    rule = Compiled(SERVICES, virtual(to("v1", more=cors))).ask("web/").rule
    assert rule is not None
    assert rule.cors is not None
    assert rule.cors.forward_unmatched is forward


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("{host: nobody}", "unknown-host"),
        ("{host: two, port: {number: 9}}", "unknown-port"),
    ],
)
def test_a_destination_that_does_not_exist_answers_503_for_its_share(destination: str, code: str) -> None:
    alone = virtual(f"  - {{match: [{{uri: {{exact: /x}}}}], route: [{{destination: {destination}}}]}}\n" + to("v1"))
    mesh = Compiled(SERVICES, alone)
    assert mesh.codes == [code]
    assert mesh.mesh.problems[0].origin.line == alone.splitlines().index("  http:") + 2
    assert (short(mesh.ask("web/x")), short(mesh.ask("web/"))) == ("503", "v1")
    shared = virtual(f"""
  - route:
    - {{destination: {{host: web, subset: v1}}, weight: 50}}
    - {{destination: {destination}, weight: 50}}
""")
    mesh = Compiled(SERVICES, shared)
    assert (short(mesh.ask("web/", random=0.4)), short(mesh.ask("web/", random=0.6))) == ("v1", "503")


def test_a_destination_without_port_takes_the_only_one_or_the_same() -> None:
    two = "  - route: [{destination: {host: two}}]\n"
    mesh = Compiled(
        SERVICES, service("many", 80, 9080), virtual(two, hosts="many"), virtual(to("v1"), name="b", hosts="two")
    )
    assert short(mesh.ask("many:80/")) == "two:80"
    assert short(mesh.ask("many:9080/")) == "503"
    assert short(mesh.ask("two:81/")) == "v1"


@pytest.mark.parametrize(
    "host",
    ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "'*.default.svc.cluster.local'"],
)
def test_every_spelling_of_a_host(host: str) -> None:
    assert short(Compiled(SERVICES, virtual(to("v2"), hosts=host)).ask("web/")) == "v2"


def test_an_exact_host_beats_a_wildcard_and_a_longer_wildcard_a_shorter() -> None:
    texts = [
        virtual(to("v1"), name="a", hosts="'*.svc.cluster.local'"),
        virtual(to("v2"), name="b", hosts="'*.default.svc.cluster.local'"),
        virtual(to("v3"), name="c", hosts="web"),
    ]
    mesh = Compiled(SERVICES, *texts)
    assert (short(mesh.ask("web/")), short(mesh.ask("other/"))) == ("v3", "v2")
    assert mesh.codes == []


def test_the_oldest_virtual_service_owns_a_host_and_the_other_hears_why() -> None:
    old = documents(virtual(to("v2"), name="z"), "old.yaml", created=1.0)
    new = documents(virtual(to("v1"), name="a"), "new.yaml", created=2.0)
    mesh = Compiled(SERVICES, new, old)
    assert short(mesh.ask("web/")) == "v2"
    (problem,) = mesh.mesh.problems
    assert (problem.code, problem.object and problem.object.name) == ("host-conflict", "a")
    assert "VirtualService default/z (old.yaml:" in problem.message


def test_a_virtual_service_and_a_route_do_not_share_a_host() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: other, port: 9080}]}]
"""
    older = Compiled(SERVICES, documents(route, created=1.0), documents(virtual(to("v1")), created=2.0))
    assert (short(older.ask("web/")), older.codes) == ("other:9080", ["host-conflict"])
    younger = Compiled(SERVICES, documents(route, created=3.0), documents(virtual(to("v1")), created=2.0))
    assert (short(younger.ask("web/")), younger.codes) == ("v1", ["host-conflict"])


def test_a_namespace_changes_only_its_own_callers_traffic_to_others() -> None:
    thief = service("thief", namespace="evil")
    hosts = "web.default.svc.cluster.local, '*.svc.cluster.local'"
    stolen = virtual("  - route: [{destination: {host: thief}}]\n", namespace="evil", hosts=hosts)
    mesh = Compiled(SERVICES, thief, virtual(to("v1")), stolen)
    assert short(mesh.ask("web/")) == "v1"
    assert short(mesh.ask("other/")) == "other:9080"
    assert short(mesh.ask("web.default/", workload("c", namespace="third"))) == "v1"
    assert short(mesh.ask("web.default/", workload("c", namespace="evil"))) == "thief.evil:9080"


def test_a_host_outside_the_mesh_is_routed_for_the_namespace_alone() -> None:
    mesh = Compiled(SERVICES, virtual(to("v1"), hosts="api.example.com"))
    assert short(mesh.ask("api.example.com/")) == "v1"
    assert short(mesh.ask("api.example.com/", workload("c", namespace="other"))) == "passthrough"


def test_source_labels_make_classes_and_nothing_else_does() -> None:
    mesh = Compiled(SERVICES, virtual(to("v2", "{sourceLabels: {version: v2}}") + to("v1")))
    first, second = mesh.sidecar(workload("x")), mesh.sidecar(workload("y"))
    other = mesh.sidecar(workload("x", "v2"))
    assert first.outbound is second.outbound
    assert other.outbound is not first.outbound
    assert labels_from_mapping({"version": "v2"}) in mesh.mesh.routes.selectors


def test_a_host_that_names_no_service_or_only_tcp_is_told() -> None:
    database = service("db", 5432).replace("http-5432", "tcp")
    mesh = Compiled(SERVICES, database, virtual(to("v1"), hosts="wbe, db, web"))
    assert sorted((item.code, item.path) for item in mesh.mesh.problems) == [
        ("not-http", ("spec", "hosts", 1)),
        ("unknown-host", ("spec", "hosts", 0)),
    ]
    assert short(mesh.ask("web/")) == "v1"


def test_who_names_a_host_beats_a_wildcard_even_one_of_the_callers_namespace() -> None:
    wildcard = virtual("  - directResponse: {status: 418}\n", namespace="far", hosts="'*.svc.cluster.local'")
    mesh = Compiled(SERVICES, wildcard, virtual(to("v1")))
    caller = workload("c", namespace="far")
    assert (short(mesh.ask("web.default/", caller)), short(mesh.ask("other.default/", caller))) == ("v1", "418")


def test_a_bare_host_means_port_80_or_the_only_port() -> None:
    mixed = service("mixed", 8080).replace("  - {name: http-8080", "  - {name: tcp, port: 5432}\n  - {name: http-8080")
    mesh = Compiled(SERVICES, mixed)
    urls = ("two/", "two:81/", "two:82/", "web/", "mixed/", "mixed:8080/")
    found = [short(mesh.ask(url)) for url in urls]
    assert found == ["two:80", "two:81", "502", "web:9080", "502", "mixed:8080"]


def test_a_subset_that_does_not_exist_is_told_and_has_no_endpoints() -> None:
    mesh = Compiled(SERVICES, virtual(to("v9")), workloads=[workload("web")])
    assert "unknown-subset" in mesh.codes
    found = endpoints(mesh.sidecar())
    sizes = {
        name.split("|")[2]: len(each.endpoints)
        for name, each in found.items()
        if name.startswith("outbound|9080|") and "|web." in name
    }
    assert (sizes[""], sizes["v9"]) == (1, 0)
