"""HTTPRoute: matches, precedence, filters, backends, producer and consumer routes."""

from __future__ import annotations

import itertools

import pytest

from support.evaluate import evaluate
from support.matching import Request
from support.meshdocs import Compiled, backends, documents, service, short, workload
from weft.mesh.routes.rules import Forward, Retry

SERVICES = "".join(service(name) for name in ("a", "b", "c", "d", "web"))


def route(rules: str, name: str = "r", namespace: str = "default", parent: str = "web", extra: str = "") -> str:
    """A route for Service default/`parent`."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {parent}, namespace: default{extra}}}]
  rules:
{rules}"""


def to(service_name: str, match: str = "{}") -> str:
    """A rule with one match that goes to a service."""
    return f"  - matches: [{match}]\n    backendRefs: [{{name: {service_name}, port: 9080}}]\n"


STRONGER_FIRST = [
    "{path: {type: Exact, value: /x}}",
    "{path: {type: PathPrefix, value: /x}, method: GET, headers: [{name: h, value: '1'}]}",
    "{path: {type: PathPrefix, value: /x}, method: GET}",
    "{path: {type: PathPrefix, value: /x}, headers: [{name: h, value: '1'}, {name: g, value: '1'}]}",
    "{path: {type: PathPrefix, value: /x}, headers: [{name: h, value: '1'}], queryParams: [{name: q, value: '1'}]}",
    "{path: {type: PathPrefix, value: /x}, headers: [{name: h, value: '1'}]}",
    "{path: {type: PathPrefix, value: /x}, queryParams: [{name: q, value: '1'}]}",
    "{path: {type: PathPrefix, value: /x}}",
    "{path: {type: RegularExpression, value: '/.*'}}",
    "{method: GET, headers: [{name: h, value: '1'}, {name: g, value: '1'}], queryParams: [{name: q, value: '1'}]}",
    "{}",
]


@pytest.mark.parametrize("pair", list(itertools.combinations(range(len(STRONGER_FIRST)), 2)))
@pytest.mark.parametrize("turned", [False, True])
def test_the_stronger_match_wins_wherever_it_stands(pair: tuple[int, int], turned: bool) -> None:
    rules = [to("a", STRONGER_FIRST[pair[0]]), to("b", STRONGER_FIRST[pair[1]])]
    mesh = Compiled(SERVICES, route("".join(reversed(rules) if turned else rules)))
    verdict = mesh.ask("web:9080/x?q=1", headers={"h": "1", "g": "1"})
    assert short(verdict) == "a:9080"


def test_rules_of_several_routes_merge_and_the_oldest_wins_a_tie() -> None:
    young = documents(route(to("a", "{path: {value: /x}}") + to("b", "{path: {value: /x/y}}"), "aaa"), created=20.0)
    old = documents(route(to("c", "{path: {value: /x}}"), "zzz"), created=10.0)
    mesh = Compiled(SERVICES, young, old)
    assert short(mesh.ask("web/x")) == "c:9080"
    assert short(mesh.ask("web/x/y/z")) == "b:9080"
    assert [(problem.code, problem.object and problem.object.name) for problem in mesh.mesh.problems] == [
        ("unreachable", "aaa")
    ]


def test_a_tie_of_age_goes_to_the_first_by_name_then_to_the_first_rule() -> None:
    mesh = Compiled(SERVICES, route(to("a"), "zzz"), route(to("b") + to("c"), "aaa"))
    assert short(mesh.ask("web/")) == "b:9080"


def test_a_path_prefix_matches_whole_segments() -> None:
    mesh = Compiled(SERVICES, route(to("a", "{path: {value: /x/}}")))
    found = [short(mesh.ask(f"web{path}")) for path in ("/x", "/x/", "/x/y", "/x?q", "/xy", "/")]
    assert found == ["a:9080", "a:9080", "a:9080", "a:9080", "404", "404"]


def test_without_a_route_requests_go_to_the_service_and_with_one_nothing_else_does() -> None:
    assert short(Compiled(SERVICES).ask("web:9080/any")) == "web:9080"
    mesh = Compiled(SERVICES, route(to("a", "{path: {type: Exact, value: /only}}")))
    assert short(mesh.ask("web:9080/any")) == "404"


def test_a_producer_route_is_for_all_callers_and_a_consumer_route_only_for_its_own() -> None:
    far = service("far", namespace="other")
    refs = "  - backendRefs: [{name: far, port: 9080}]\n"
    mesh = Compiled(SERVICES, far, route(to("a")), route(refs, "mine", "other"))
    inside = workload("client", namespace="other")
    third = workload("client", namespace="third")
    assert short(mesh.ask("web.default/")) == "a:9080"
    assert short(mesh.ask("web.default/", third)) == "a:9080"
    assert short(mesh.ask("web.default/", inside)) == "far.other:9080"
    assert mesh.codes == []


def test_consumer_rules_replace_producer_rules_whole() -> None:
    far = service("far", namespace="other")
    rule = "  - matches: [{path: {value: /mine}}]\n    backendRefs: [{name: far, port: 9080}]\n"
    mesh = Compiled(SERVICES, far, route(to("a")), route(rule, "mine", "other"))
    assert short(mesh.ask("web.default/", workload("client", namespace="other"))) == "404"


def test_a_parent_port_narrows_the_route() -> None:
    mesh = Compiled(SERVICES, service("two", 80, 81), route(to("a"), parent="two", extra=", port: 81"))
    assert short(mesh.ask("two:81/")) == "a:9080"
    assert short(mesh.ask("two:80/")) == "two:80"
    assert Compiled(SERVICES, route(to("a"), extra=", port: 1")).codes == ["unknown-port"]


def test_a_parents_section_is_the_name_of_a_port() -> None:
    two = service("two", 80, 81)
    mesh = Compiled(SERVICES, two, route(to("a"), parent="two", extra=", sectionName: http-81"))
    assert (short(mesh.ask("two:81/")), short(mesh.ask("two:80/"))) == ("a:9080", "two:80")
    [accepted] = mesh.mesh.acceptance
    assert [(parent.section, parent.conditions[0].status) for parent in accepted.parents] == [("http-81", True)]
    both = Compiled(SERVICES, two, route(to("a"), parent="two", extra=", sectionName: http-81, port: 81"))
    assert (short(both.ask("two:81/")), both.codes) == ("a:9080", [])


@pytest.mark.parametrize(
    ("parent", "text"),
    [
        ("sectionName: http-8l", "called 'http-8l'; expected one of http-80, http-81; did you mean 'http-81'?"),
        ("sectionName: http-80, port: 81", "called 'http-80' with number 81; expected one of http-80, http-81"),
    ],
)
def test_a_section_that_is_no_port_is_told(parent: str, text: str) -> None:
    mesh = Compiled(SERVICES, service("two", 80, 81), route(to("a"), parent="two", extra=f", {parent}"))
    assert [str(problem).rpartition("two has no port ")[2] for problem in mesh.mesh.problems] == [text]
    [status] = mesh.mesh.acceptance
    assert (status.parents[0].conditions[0].reason, short(mesh.ask("two:81/"))) == ("NoMatchingParent", "two:81")


def test_hostnames_mean_nothing_for_a_service_and_say_so() -> None:
    text = route(to("a")).replace("spec:\n", "spec:\n  hostnames: [elsewhere.example]\n")
    mesh = Compiled(SERVICES, text)
    assert mesh.codes == ["hostnames-ignored"]
    assert short(mesh.ask("web/")) == "a:9080"


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("{name: nobody, port: 9080}", "unknown-service"),
        ("{name: a, port: 1}", "unknown-port"),
        ("{name: far, namespace: other, port: 9080}", "reference-not-granted"),
    ],
)
def test_the_share_of_a_bad_backend_answers_500(reference: str, code: str) -> None:
    rule = f"  - backendRefs: [{{name: a, port: 9080, weight: 3}}, {reference}]\n"
    mesh = Compiled(SERVICES, service("far", namespace="other"), route(rule))
    assert mesh.codes == [code]
    assert mesh.mesh.problems[0].origin.line > 1
    assert short(mesh.ask("web/", random=0.7)) == "a:9080"
    assert short(mesh.ask("web/", random=0.8)) == "500"
    alone = Compiled(SERVICES, service("far", namespace="other"), route(f"  - backendRefs: [{reference}]\n"))
    assert short(alone.ask("web/")) == "500"


def test_a_grant_opens_a_backend_of_another_namespace() -> None:
    grant = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: far}]
"""
    far = service("far", namespace="other") + service("near", namespace="other")
    rule = "  - backendRefs: [{name: NAME, namespace: other, port: 9080}]\n"
    assert short(Compiled(SERVICES, far, grant, route(rule.replace("NAME", "far"))).ask("web/")) == "far.other:9080"
    assert short(Compiled(SERVICES, far, grant, route(rule.replace("NAME", "near"))).ask("web/")) == "500"


def test_weights_share_requests() -> None:
    references = "{name: a, port: 9080, weight: 9}, {name: b, port: 9080}, {name: c, port: 9080, weight: 0}"
    mesh = Compiled(SERVICES, route(f"  - backendRefs: [{references}]\n"))
    verdict = mesh.ask("web/", random=0.95)
    assert [share for _, share in verdict.backends] == [0.9, 0.1, 0.0]
    assert short(verdict) == "b:9080"
    nobody = Compiled(SERVICES, route("  - backendRefs: [{name: a, port: 9080, weight: 0}]\n"))
    assert short(nobody.ask("web/")) == "500"


@pytest.mark.parametrize(
    ("redirect", "location"),
    [
        ("{scheme: https}", "https://web/old/x?q=1"),
        ("{hostname: new.example}", "http://new.example/old/x?q=1"),
        ("{port: 8443, scheme: https}", "https://web:8443/old/x?q=1"),
        ("{port: 80, scheme: http}", "http://web/old/x?q=1"),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /new}}", "http://web:9080/new?q=1"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}", "http://web:9080/new/x?q=1"),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}", "http://web:9080/x?q=1"),
    ],
)
def test_redirects(redirect: str, location: str) -> None:
    rule = f"""
  - matches: [{{path: {{value: /old}}}}]
    filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]
"""
    verdict = Compiled(SERVICES, route(rule)).ask("web:9080/old/x?q=1")
    assert (verdict.status, verdict.location) == (302, location)


@pytest.mark.parametrize(
    ("prefix", "target", "path", "expected"),
    [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo", "/"),
        ("/", "/xyz", "/bar", "/xyz/bar"),
    ],
)
def test_prefix_rewrites_of_the_specification(prefix: str, target: str, path: str, expected: str) -> None:
    rule = f"""
  - matches: [{{path: {{value: {prefix}}}}}]
    filters:
    - type: URLRewrite
      urlRewrite: {{hostname: inner.example, path: {{type: ReplacePrefixMatch, replacePrefixMatch: {target}}}}}
    backendRefs: [{{name: a, port: 9080}}]
"""
    verdict = Compiled(SERVICES, route(rule)).ask(f"web{path}?k=v")
    assert (verdict.host, verdict.path) == ("inner.example", f"{expected}?k=v")


def test_filters_of_rule_and_backend_mirrors_timeouts_and_retries() -> None:
    rule = """
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: '1'}], remove: [X-B]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-C, value: '2'}]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 9080}, percent: 20}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: c, port: 9080}, fraction: {numerator: 1, denominator: 8}}
    timeouts: {request: 10s, backendRequest: 2s}
    retry: {codes: [503], attempts: 3, backoff: 100ms}
    backendRefs:
    - name: a
      port: 9080
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-D, value: d}]}}]
"""
    mesh = Compiled(SERVICES, route(rule))
    verdict = mesh.ask("web/", random=0.15)
    assert [item.set for item in verdict.request] == [(("x-a", "1"),), ()]
    assert verdict.request[0].remove == ("x-b",)
    assert verdict.request[1].add == (("x-d", "d"),)
    assert verdict.response[0].add == (("x-c", "2"),)
    assert [name.split("|")[3].split(".")[0] for name in verdict.mirrors] == ["b"]
    assert verdict.rule is not None
    assert isinstance(verdict.rule.action, Forward)
    assert verdict.rule.action.timeout == 10.0
    assert verdict.rule.action.mirrors[1].percent == 12.5
    conditions = ("connect-failure", "refused-stream", "reset")
    assert verdict.rule.action.retry == Retry(3, conditions, (503,), 2.0, 0.1, other_host=True)
    assert mesh.codes == []


@pytest.mark.parametrize(("written", "meant"), [("", None), ("    timeouts: {request: 0s}\n", 0.0)])
def test_a_timeout_of_0_is_told_from_none_that_is_written(written: str, meant: float | None) -> None:
    rule = f"  - backendRefs: [{{name: a, port: 9080}}]\n{written}"
    verdict = Compiled(SERVICES, route(rule)).ask("web/")
    assert verdict.rule is not None
    assert isinstance(verdict.rule.action, Forward)
    assert verdict.rule.action.timeout == meant


def test_a_rule_says_where_it_is_written() -> None:
    text = route(to("a", "{path: {value: /x}}") + to("b"))
    verdict = Compiled(SERVICES, text).ask("web/")
    assert verdict.rule is not None
    assert verdict.rule.index == 1
    assert str(verdict.rule.object) == "HTTPRoute default/r"
    assert verdict.origin is not None
    assert text.splitlines()[verdict.origin.line - 1].startswith("  - matches: [{}]")


def test_a_backend_that_does_not_exist_is_none_of_the_view() -> None:
    mesh = Compiled(SERVICES, route("  - backendRefs: [{name: a, port: 9080}, {name: nobody, port: 1}]\n"))
    assert not any("nobody" in name for name in backends(mesh.sidecar()))


def test_a_consumer_route_needs_no_grant_to_the_service_it_is_attached_to_but_on_a_gateway_it_does() -> None:
    rule = """
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-consumer, value: y}]}}]
    backendRefs: [{name: web, namespace: default, port: 9080}]
"""
    front = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: other}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    both = route(rule, "mine", "other").replace("parentRefs: [", "parentRefs: [{name: front}, ")
    mesh = Compiled(SERVICES, front, both)
    verdict = mesh.ask("web.default/", workload("client", namespace="other"))
    assert (short(verdict), verdict.request[0].set) == ("web:9080", (("x-consumer", "y"),))
    assert short(evaluate(mesh.gateway("front", "other"), Request("any.example"))) == "500"
    assert mesh.codes == ["reference-not-granted"]
