"""Routing seen in real traffic: splits, matches, rewrites, redirects, mirrors, faults, timeouts, retries, ejection."""

from __future__ import annotations

from collections import Counter

import pytest

from e2e.conftest import SERVICES
from support.http import Client
from support.mesh import Mesh, until


def vs(http: str, hosts: str = "echo", more: str = "") -> str:
    """A VirtualService for echo with this http part (flow YAML)."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: under-test}}
spec: {{hosts: [{hosts}], {more} http: {http}}}
"""


def route(rules: str, parent: str = "{group: '', kind: Service, name: echo}") -> str:
    """An HTTPRoute with these rules (flow YAML)."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: under-test}}
spec: {{parentRefs: [{parent}], rules: {rules}}}
"""


VERSIONS = """
apiVersion: v1
kind: Service
metadata: {name: echo-v1}
spec: {selector: {app: echo, version: v1}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo-v2}
spec: {selector: {app: echo, version: v2}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
"""
TO_V1 = "route: [{destination: {host: echo, subset: v1}}]"
TO_V2 = "route: [{destination: {host: echo, subset: v2}}]"


def shares(client: Client, count: int, url: str = "http://echo/") -> Counter[str]:
    return Counter(client(url).json()["workload"] for _ in range(count))


def test_every_instance_serves_without_any_route(world: Mesh, client: Client) -> None:
    assert set(shares(client, 60)) == {"echo-v1", "echo-v2"}


@pytest.mark.parametrize("host", ["echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local"])
def test_all_names_of_a_service(client: Client, world: Mesh, host: str) -> None:
    assert client(f"http://{host}/x?q=1").json()["path"] == "/x?q=1"
    assert client(f"http://{host}:80/").status == 200


SPLIT_VS = vs(
    "[{route: [{destination: {host: echo, subset: v1}, weight: 90},"
    " {destination: {host: echo, subset: v2}, weight: 10}]}]"
)
SPLIT_ROUTE = VERSIONS + route(
    "[{backendRefs: [{name: echo-v1, port: 80, weight: 90}, {name: echo-v2, port: 80, weight: 10}]}]"
)


@pytest.mark.parametrize("documents", [SPLIT_VS, SPLIT_ROUTE], ids=["VirtualService", "HTTPRoute"])
def test_a_split_holds_within_statistical_bounds(world: Mesh, client: Client, documents: str) -> None:
    with world.applied(documents):
        got = shares(client, 2000)
    # 200 expected; five standard deviations of a binomial(2000, 0.1) are 67
    assert sum(got.values()) == 2000
    assert 133 <= got["echo-v2"] <= 267


def test_virtual_service_matches(world: Mesh, client: Client) -> None:
    rules = f"""[
      {{match: [{{headers: {{end-user: {{exact: jason}}}}}}], {TO_V2}}},
      {{match: [{{uri: {{prefix: /pre}}}}], {TO_V2}}},
      {{match: [{{uri: {{regex: '/r[0-9]+x'}}}}], {TO_V2}}},
      {{match: [{{uri: {{exact: /EXACT}}, ignoreUriCase: true}}], {TO_V2}}},
      {{match: [{{queryParams: {{v: {{exact: '2'}}}}}}], {TO_V2}}},
      {{match: [{{method: {{exact: PUT}}}}], {TO_V2}}},
      {{match: [{{uri: {{exact: /without}}, withoutHeaders: {{x-no: {{}}}}}}], {TO_V2}}},
      {{{TO_V1}}}]"""
    with world.applied(vs(rules)):
        for path, method, headers, expected in (
            ("/", "GET", {}, "echo-v1"),
            ("/", "GET", {"end-user": "jason"}, "echo-v2"),
            ("/", "GET", {"end-user": "jasonx"}, "echo-v1"),
            ("/prefix", "GET", {}, "echo-v2"),
            ("/r42x", "GET", {}, "echo-v2"),
            ("/r42xy", "GET", {}, "echo-v1"),
            ("/exact", "GET", {}, "echo-v2"),
            ("/?v=2", "GET", {}, "echo-v2"),
            ("/?v=3", "GET", {}, "echo-v1"),
            ("/", "PUT", {}, "echo-v2"),
            ("/without", "GET", {}, "echo-v2"),
            ("/without", "GET", {"x-no": "1"}, "echo-v1"),
        ):
            for _ in range(3):
                got = client(f"http://echo{path}", method, headers).json()["workload"]
                assert got == expected, (path, method, headers)


def test_http_route_matches_and_precedence(world: Mesh, client: Client) -> None:
    rules = """[
      {backendRefs: [{name: echo-v1, port: 80}]},
      {matches: [{path: {type: PathPrefix, value: /api}}], backendRefs: [{name: echo-v2, port: 80}]},
      {matches: [{path: {type: Exact, value: /api/one}}], backendRefs: [{name: echo-v1, port: 80}]},
      {matches: [{headers: [{name: who, value: 'b.b', type: RegularExpression}]}],
       backendRefs: [{name: echo-v2, port: 80}]},
      {matches: [{path: {value: /q}, queryParams: [{name: a, value: b}]}], backendRefs: [{name: echo-v2, port: 80}]}]"""
    with world.applied(VERSIONS + route(rules)):
        for path, headers, expected in (
            ("/", {}, "echo-v1"),
            ("/api", {}, "echo-v2"),
            ("/api/two", {}, "echo-v2"),
            ("/apis", {}, "echo-v1"),
            ("/api/one", {}, "echo-v1"),
            ("/", {"who": "bob"}, "echo-v2"),
            ("/", {"who": "bobby"}, "echo-v1"),
            ("/q?a=b", {}, "echo-v2"),
            ("/q?a=c", {}, "echo-v1"),
        ):
            assert client(f"http://echo{path}", headers=headers).json()["workload"] == expected, (path, headers)


def test_rewrite_and_headers(world: Mesh, client: Client) -> None:
    rules = """[{match: [{uri: {prefix: /old}}], rewrite: {uri: /new, authority: elsewhere.example},
      headers: {request: {set: {x-set: a, x-literal: "%HOSTNAME% 100%%"}, add: {x-add: b}, remove: [x-gone]},
                response: {remove: [x-remove-me], set: {x-out: c}}},
      route: [{destination: {host: echo}}]}]"""
    with world.applied(vs(rules)):
        answer = client("http://echo/old/path?q=1", headers={"x-gone": "1"})
        got = answer.json()
        headers = {name.lower(): value for name, value in got["headers"]}
        assert got["path"] == "/new/path?q=1"
        assert got["host"] == "elsewhere.example"
        assert headers["x-set"] == "a"
        assert headers["x-literal"] == "%HOSTNAME% 100%%", "Envoy replaces nothing"
        assert headers["x-add"] == "b"
        assert "x-gone" not in headers
        assert "x-remove-me" not in answer.headers
        assert answer.headers["x-out"] == "c"
        assert client("http://echo/other").status == 404


@pytest.mark.parametrize(
    ("prefix", "replacement", "request_path", "expected"),
    [("/foo", "/xyz", "/foo/bar", "/xyz/bar"), ("/foo", "/", "/foo/bar", "/bar"), ("/foo", "/", "/foo", "/")],
)
def test_http_route_rewrites_segments(
    world: Mesh, client: Client, prefix: str, replacement: str, request_path: str, expected: str
) -> None:
    rules = f"""[{{matches: [{{path: {{value: {prefix}}}}}], backendRefs: [{{name: echo, port: 80}}],
      filters: [{{type: URLRewrite, urlRewrite: {{hostname: new.example,
        path: {{type: ReplacePrefixMatch, replacePrefixMatch: {replacement}}}}}}},
        {{type: ResponseHeaderModifier, responseHeaderModifier: {{add: [{{name: x-seen, value: 'yes'}}]}}}}]}}]"""
    with world.applied(route(rules)):
        answer = client(f"http://echo{request_path}?a=1")
        assert answer.json()["path"] == f"{expected}?a=1"
        assert answer.json()["host"] == "new.example"
        assert answer.headers["x-seen"] == "yes"


def test_redirects(world: Mesh, client: Client) -> None:
    with world.applied(vs("[{redirect: {uri: /there, authority: new.example, redirectCode: 307}}]")):
        answer = client("http://echo/here")
        assert (answer.status, answer.headers["location"]) == (307, "http://new.example/there")
    rules = """[{matches: [{path: {value: /a}}], filters: [{type: RequestRedirect,
      requestRedirect: {scheme: https, hostname: s.example, statusCode: 301,
        path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]"""
    with world.applied(route(rules)):
        answer = client("http://echo/a/x")
        assert (answer.status, answer.headers["location"]) == (301, "https://s.example/b/x")


def test_direct_response(world: Mesh, client: Client) -> None:
    with world.applied(vs("[{directResponse: {status: 418, body: {string: short}}}]")):
        answer = client("http://echo/")
        assert (answer.status, answer.body) == (418, b"short")


@pytest.mark.parametrize("api", ["VirtualService", "HTTPRoute"])
def test_mirror(world: Mesh, client: Client, api: str) -> None:
    path = f"/mirrored-{api}"
    if api == "HTTPRoute":
        documents = route(
            "[{backendRefs: [{name: echo, port: 80}], filters: "
            "[{type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}]}]"
        )
    else:
        documents = vs(f"[{{{TO_V1}, mirror: {{host: other}}, mirrorPercentage: {{value: 100}}}}]")
    with world.applied(documents):
        for _ in range(20):
            assert client(f"http://echo{path}").json()["workload"].startswith("echo")
        until("mirrored", lambda: client("http://other/counts").json()["seen"].get(path) == 20)


def test_fault_delay_and_abort(world: Mesh, client: Client) -> None:
    with world.applied(vs(f"[{{fault: {{delay: {{fixedDelay: 0.7s, percentage: {{value: 100}}}}}}, {TO_V1}}}]")):
        answer = client("http://echo/")
        assert answer.status == 200
        assert answer.seconds > 0.6, "Envoy counts from the time of its event loop, a little earlier"
    with world.applied(vs(f"[{{fault: {{abort: {{httpStatus: 418, percentage: {{value: 50}}}}}}, {TO_V1}}}]")):
        got = Counter(client("http://echo/").status for _ in range(400))
        assert set(got) == {200, 418}
        assert 140 <= got[418] <= 260  # 200 expected, six standard deviations
    assert {client("http://echo/").status for _ in range(20)} == {200}


@pytest.mark.parametrize(
    "documents",
    [vs(f"[{{timeout: 1s, retries: {{attempts: 0}}, {TO_V1}}}]"),
     route("[{timeouts: {request: 1s}, backendRefs: [{name: echo, port: 80}]}]")],
    ids=["VirtualService", "HTTPRoute"],
)  # fmt: skip
def test_timeout(world: Mesh, client: Client, documents: str) -> None:
    with world.applied(documents):
        until("what is quick is answered", lambda: client("http://echo/").status == 200)
        assert client("http://echo/delay/9").status == 504
    assert client("http://echo/delay/1.2").status == 200


def test_retries(world: Mesh, client: Client) -> None:
    assert client("http://echo/status/503").status == 503
    with world.applied(vs(f"[{{retries: {{attempts: 3, retryOn: 5xx}}, {TO_V1}}}]")):
        answer = client("http://echo/fail/vs/2")
        assert (answer.status, answer.json()["tries"]) == (200, 3)
    with world.applied(
        VERSIONS + route("[{retry: {codes: [503], attempts: 3}, backendRefs: [{name: echo-v1, port: 80}]}]")
    ):
        answer = client("http://echo/fail/route/2")
        assert (answer.status, answer.json()["tries"]) == (200, 3)


def test_outlier_ejection(world: Mesh, client: Client) -> None:
    ejection = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec:
  host: other
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 30s, maxEjectionPercent: 100}
"""
    with world.applied(ejection):
        until(
            "the only endpoint is ejected",
            lambda: client("http://other/status/500").status == 503 and client("http://other/").status == 503,
        )
    until("back without the rule", lambda: client("http://other/").status == 200)


def test_consistent_hash_keeps_a_key_on_one_instance(world: Mesh, client: Client) -> None:
    rule = next(document for document in SERVICES.split("---") if "DestinationRule" in document)
    sticky = rule.rstrip() + "\n  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}\n"

    def homes() -> list[set[str]]:
        users = ({"x-user": str(number)} for number in range(20))
        return [{client("http://echo/", headers=user).json()["workload"] for _ in range(10)} for user in users]

    world.apply(sticky)
    try:
        until("each key is at home", lambda: max(map(len, homes())) == 1)
        found = homes()
    finally:
        world.apply(rule)
    assert max(map(len, found)) == 1, found
    assert set().union(*found) == {"echo-v1", "echo-v2"}


def test_source_labels_choose_the_caller(world: Mesh, client: Client) -> None:
    rules = f"[{{match: [{{sourceLabels: {{app: other}}}}], {TO_V2}}}, {{{TO_V1}}}]"
    with world.applied(vs(rules)):
        assert set(shares(client, 10)) == {"echo-v1"}
        assert set(shares(Client(world.proxy_of("other")), 10)) == {"echo-v2"}


def test_the_gateway_routes_by_host_and_path(world: Mesh, front: tuple[Client, str]) -> None:
    outside, url = front
    parent = "{name: front}"
    documents = route("[{matches: [{path: {value: /in}}], backendRefs: [{name: echo, port: 80}]}]", parent)
    assert outside(f"{url}/in").status == 404
    with world.applied(documents.replace("spec: {", "spec: {hostnames: ['*.shop.example'], ")):
        assert outside(f"{url}/in", headers={"Host": "a.shop.example"}).json()["path"] == "/in"
        assert outside(f"{url}/out", headers={"Host": "a.shop.example"}).status == 404
        assert outside(f"{url}/in", headers={"Host": "shop.example"}).status == 404
    assert outside(f"{url}/in", headers={"Host": "a.shop.example"}).status == 404


def test_a_virtual_service_on_the_gateway(world: Mesh, front: tuple[Client, str]) -> None:
    outside, url = front
    with world.applied(vs(f"[{{match: [{{uri: {{prefix: /x}}}}], {TO_V2}}}]", "'*'", "gateways: [front],")):
        assert outside(f"{url}/x").json()["workload"] == "echo-v2"
        assert outside(f"{url}/y").status == 404


def test_an_unknown_host_is_not_a_mesh_service(world: Mesh, client: Client) -> None:
    assert client("http://nobody.invalid/").status in (502, 503)


def test_identity_headers_cannot_be_forged(world: Mesh, client: Client) -> None:
    forged = {
        "X-Forwarded-Client-Cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    answer = client("http://echo/delay/0.2", headers=forged)
    assert answer.status == 200
    headers = Counter(name.lower() for name, _ in client("http://echo/", headers=forged).json()["headers"])
    got = [value for name, value in client("http://echo/", headers=forged).json()["headers"]
           if name.lower() == "x-forwarded-client-cert"]  # fmt: skip
    assert headers["x-envoy-retry-on"] == 0
    assert all("sa/admin" not in value for value in got)
