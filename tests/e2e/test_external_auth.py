"""Who is asked whether a request may pass, with real Envoys: ExternalAuth of routes, and policies that are CUSTOM."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.envoy import free_port
from support.http import Answer, Client
from support.identity import built
from support.mesh import APPS, Mesh

Front = tuple[Client, str]
SERVERS = """
apiVersion: v1
kind: Service
metadata: {name: asked}
spec: {selector: {app: asked}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: opa}
spec: {selector: {app: opa}, ports: [{name: grpc-authz, port: 9191, targetPort: 9191}]}
"""
REGO = """
package envoy.authz

default allow := {"allowed": false, "http_status": 418, "body": "opa says no", "headers": {"x-opa": "no"}}

allow := {"allowed": true, "headers": {"x-opa": "yes"}} if {
    input.attributes.request.http.method == "GET"
    input.parsed_path[0] == "reports"
}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [PARENT]
  rules:
    - filters: [FILTER]
      backendRefs: [{name: echo, port: 80}]
"""
HTTP = (
    "{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: asked, port: 80}, "
    "http: {path: /check, allowedHeaders: [x-behave, x-wanted], allowedResponseHeaders: [x-auth-user]}, "
    "forwardBody: {maxSize: 8}}}"
)
GRPC = "{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: opa, port: 9191}}}"
PROVIDERS = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders:
    - name: web
      envoyExtAuthzHttp:
        service: default/asked.default.svc.cluster.local
        port: 80
        timeout: 2s
        includeRequestHeadersInCheck: [x-behave, x-weft-caller]
        includeAdditionalHeadersInCheck: {x-shared: "100% of a secret"}
        headersToUpstreamOnAllow: [x-auth-user]
        headersToDownstreamOnDeny: [x-auth-reason]
        headersToDownstreamOnAllow: [x-auth-*]
    - name: open
      envoyExtAuthzHttp:
        {service: 127.0.0.1, port: DEAD, failOpen: true}
    - name: shut
      envoyExtAuthzHttp:
        {service: 127.0.0.1, port: DEAD, statusOnError: "503"}
    - name: opa
      envoyExtAuthzGrpc: {service: default/opa.default.svc.cluster.local, port: 9191}
"""
CUSTOM = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: NAME}
spec:
  TARGET
  action: CUSTOM
  provider: {name: PROVIDER}
  rules: [{to: [{operation: {paths: [PATH]}}]}]
"""
ECHO = "selector: {matchLabels: {app: echo}}"
FRONT = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]"
CORS = (
    '{type: CORS, cors: {allowOrigins: ["https://*.example.com"], allowMethods: [GET, PUT], allowHeaders: [x-wanted], '
    "allowCredentials: true, maxAge: 60}}"
)


def route(name: str, filters: str, parent: str = "{name: front}") -> str:
    """A route of a host of its own at the gateway, or of a Service."""
    hosts = f"\n  hostnames: [{name}.example.com]" if "front" in parent else ""
    text = ROUTE.replace("FILTER", filters).replace("[PARENT]", f"[{parent}]{hosts}")
    return text.replace("NAME", name)


@pytest.fixture(scope="module")
def servers(world: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with those who are asked."""
    policy = tmp_path_factory.mktemp("opa") / "policy.rego"
    policy.write_text(REGO)
    opa = built("authorizer")
    with world.applied(SERVERS, check=False):
        processes = [
            world.run("asked", [sys.executable, str(APPS / "authorizer.py")], app="asked", health="tcp", wait=False),
            world.run(
                "opa",
                ["sh", "-c", f'exec {opa} -listen 127.0.0.1:"$PORT" -policy {policy}'],
                port="9191:auto",
                health="tcp",
                app="opa",
                wait=False,
            ),
        ]
        world.wait_healthy("asked", "opa")
        try:
            yield world
        finally:
            for process in processes:
                process.stop()


def asked(mesh: Mesh) -> list[dict[str, Any]]:
    """What the HTTP server was asked."""
    address = mesh.workload("asked")["ports"][0]["application"]
    found: list[dict[str, Any]] = Client()(f"http://127.0.0.1:{address['port']}/asked").json()
    return found


def test_http_at_a_gateway(servers: Mesh, front: Front) -> None:
    client, url = front

    def ask(path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        lines = {"host": "web.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return client(f"{url}{path}", method, lines, body)

    with servers.applied(route("web", HTTP)):
        good = ask("/good?q=1", "POST", b"longer than eight", x_wanted="w", x_secret="s", x_auth_user="root")
        assert good.status == 200
        assert headers_of(good)["x-auth-user"] == "ann", "the server's word, not the client's"
        assert "x-auth-reason" not in headers_of(good)
        question = asked(servers)[-1]
        assert (question["method"], question["path"]) == ("POST", "/check/good?q=1")
        assert question["body"] == "longer t", "cut, as the specification wants it"
        assert question["headers"]["host"] == "web.example.com"
        assert question["headers"]["x-wanted"] == "w"
        assert "x-secret" not in question["headers"]
        no = ask("/deny")
        assert (no.status, no.body) == (401, b"asked")
        assert ask("/good", x_behave="wrong").status == 403, "an answer of 5xx is none"
        assert len(ask("/deny", x_behave="long").body) <= 1 << 16
    with servers.applied(route("web", HTTP.replace("name: asked", "name: nobody")), check=False):
        assert ask("/good").status == 500, "whom to ask is not known"


def test_grpc_inside_the_mesh(servers: Mesh, client: Client) -> None:
    with servers.applied(route("inside", GRPC, '{group: "", kind: Service, name: echo}')):
        good = client("http://echo/reports/1")
        assert good.status == 200
        assert headers_of(good)["x-opa"] == "yes"
        no = client("http://echo/reports/1", "DELETE")
        assert (no.status, no.body, no.headers["x-opa"]) == (418, b"opa says no", "no")
        assert client("http://echo/secrets").status == 418
    assert client("http://echo/secrets").status == 200


def test_cors(servers: Mesh, front: Front) -> None:
    client, url = front

    def preflight(origin: str, **more: str) -> Answer:
        lines = {"host": "pages.example.com", "origin": origin, "access-control-request-method": "PUT"}
        return client(url, "OPTIONS", lines | {name.replace("_", "-"): value for name, value in more.items()})

    with servers.applied(route("pages", CORS)):
        good = preflight("https://shop.example.com")
        assert good.headers["access-control-allow-origin"] == "https://shop.example.com"
        assert good.headers["access-control-allow-methods"] == "GET,PUT"
        assert good.headers["access-control-allow-credentials"] == "true"
        assert good.headers["access-control-max-age"] == "60"
        for origin in (
            "https://example.com.evil.net",
            "http://shop.example.com",
            "https://evil.net/.example.com",
            "null",
        ):
            assert "access-control-allow-origin" not in preflight(origin).headers, origin
    with servers.applied(route("pages", CORS.replace("[GET, PUT]", "['*']").replace("[x-wanted]", "['*']"))):
        good = preflight("https://shop.example.com", access_control_request_headers="x-one,x-two")
        assert good.headers["access-control-allow-headers"] == "x-one,x-two", "with credentials a browser knows no *"
        assert good.headers["access-control-allow-methods"] == "PUT"


@pytest.fixture
def providers(servers: Mesh) -> Iterator[Mesh]:
    """The mesh that knows whom to ask."""
    with servers.applied(PROVIDERS.replace("DEAD", str(free_port()))):
        yield servers


def custom(provider: str, path: str, target: str = ECHO, name: str = "asks") -> str:
    """A policy that has a provider asked about some paths."""
    text = CUSTOM.replace("PROVIDER", provider).replace("PATH", path)
    return text.replace("TARGET", target).replace("NAME", name)


def test_only_what_the_rules_match_is_asked(providers: Mesh, client: Client) -> None:
    with providers.applied(custom("web", "/secret/*")):
        before = len(asked(providers))
        assert client("http://echo/free/deny").status == 200
        assert len(asked(providers)) == before, "nobody was asked"
        good = client("http://echo/secret/1", headers={"x-weft-caller": "spiffe://cluster.local/ns/a/sa/root"})
        assert good.status == 200
        assert headers_of(good)["x-auth-user"] == "ann"
        assert good.headers["x-auth-reason"] == "because"
        question = asked(providers)[-1]
        assert question["path"] == "/secret/1"
        assert question["headers"]["x-weft-caller"] == "spiffe://cluster.local/ns/default/sa/client"
        assert question["headers"]["x-shared"] == "100% of a secret"
        no = client("http://echo/secret/deny")
        assert (no.status, no.headers.get("x-auth-reason"), no.headers.get("x-auth-user")) == (401, "because", None)
        for behave in ("slow", "wrong"):
            assert client("http://echo/secret/1", headers={"x-behave": behave}).status == 403, behave
        config = providers.weft("proxy", "config", "echo-v1", "all", "-o", "json").stdout
        assert "custom_0_" in config
        assert "100% of a secret" not in config
    assert client("http://echo/secret/deny").status == 200


def test_a_server_that_is_away(providers: Mesh, client: Client) -> None:
    with providers.applied(custom("open", "/*")):
        assert client("http://echo/a").status == 200
    with providers.applied(custom("shut", "/*")):
        assert client("http://echo/a").status == 503


def test_open_policy_agent_and_a_second_provider(providers: Mesh, client: Client, front: Front) -> None:
    policies = custom("opa", "/*") + "---" + custom("web", "/reports/*", name="second")
    with providers.applied(policies):
        assert client("http://echo/reports/1").status == 200
        assert client("http://echo/reports/deny").status == 401, "one of both says no"
        assert client("http://echo/other").status == 418
    with providers.applied(route("edge", "{type: RequestHeaderModifier, requestHeaderModifier: {}}")):
        lines = {"host": "edge.example.com"}
        with providers.applied(custom("opa", "/*", FRONT)):
            assert front[0](f"{front[1]}/reports/1", headers=lines).status == 200
            assert front[0](f"{front[1]}/other", headers=lines).status == 418
        assert front[0](f"{front[1]}/other", headers=lines).status == 200


def test_nobody_passes_who_cannot_be_asked_about(providers: Mesh, client: Client) -> None:
    with providers.applied(custom("wep", "/secret/*"), check=False):
        assert client("http://echo/free").status == 403
        assert "unknown-provider" in [problem["code"] for problem in providers.problems()]
    assert client("http://echo/free").status == 200


def headers_of(answer: Answer) -> dict[str, str]:
    """The request's headers as the application saw them."""
    return {name.lower(): value for name, value in answer.json()["headers"]}
