"""The steps of the Gateway API's guides, with documents of the same shape: each guide's fields, and what it promises.
docs/published-pages.md has the list of guides and where each is tried."""

from __future__ import annotations

from collections import Counter

from support.certificates import TestAuthority
from support.mesh import Mesh, until
from support.pages import get, get_over_tls, secret, seen

Edge = dict[int, tuple[str, int]]
GATEWAY_API = "apiVersion: gateway.networking.k8s.io/v1\n"


def services(*names: str, namespace: str = "default") -> str:
    """Services called so: those that end in v2 or canary are the second version of the echo."""
    return "".join(
        f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: echo, version: {"v2" if name.endswith(("v2", "canary")) else "v1"}}}
  ports: [{{name: http, port: 8080}}]
---"""
        for name in names
    )


def gateway(listeners: str) -> str:
    kind = f"\n{GATEWAY_API}kind: Gateway\nmetadata: {{name: edge}}\n"
    return f"{kind}spec:\n  gatewayClassName: istio\n  listeners:\n{listeners}---"


def route(name: str, rules: str, hosts: str = "", more: str = "", namespace: str = "default") -> str:
    hostnames = f"  hostnames: [{hosts}]\n" if hosts else ""
    parent = f"{{name: edge, namespace: default{more}}}"
    return (
        f"\n{GATEWAY_API}kind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
        f"  parentRefs: [{parent}]\n{hostnames}  rules:\n{rules}---"
    )


HTTP = "  - {name: http, protocol: HTTP, port: 80}\n"


def to(name: str, more: str = "") -> str:
    return f"    backendRefs: [{{name: {name}, port: 8080{more}}}]\n"


def test_a_simple_gateway(world: Mesh, edge: Edge) -> None:
    with world.applied(services("foo-svc") + gateway(HTTP) + route("foo", "  -" + to("foo-svc")[3:])):
        answer = get(edge[80], "/anything", "whatever.example.com")
        assert (answer.status, answer.json()["workload"]) == (200, "echo-v1")
    assert get_fails(edge)


def get_fails(edge: Edge) -> bool:
    """Whether nothing is served at the port of plain requests any more."""
    try:
        return get(edge[80], "/", "whatever.example.com").status == 404
    except OSError:
        return True


def test_http_routing(world: Mesh, edge: Edge) -> None:
    """Hosts and paths, and a header that leads to a canary."""
    login = "  - matches: [{path: {type: PathPrefix, value: /login}}]\n"
    canary = "  - matches: [{headers: [{type: Exact, name: env, value: canary}]}]\n"
    documents = (
        services("foo-svc", "bar-svc", "bar-svc-canary")
        + gateway(HTTP)
        + route("foo-route", login + to("foo-svc"), "foo.example.com")
        + route("bar-route", canary + to("bar-svc-canary") + "  -" + to("bar-svc")[3:], "bar.example.com")
    )
    with world.applied(documents):
        assert get(edge[80], "/login/x", "foo.example.com").json()["workload"] == "echo-v1"
        assert get(edge[80], "/logout", "foo.example.com").status == 404
        assert get(edge[80], "/any", "bar.example.com").json()["workload"] == "echo-v1"
        assert get(edge[80], "/any", "bar.example.com", env="canary").json()["workload"] == "echo-v2"
        assert get(edge[80], "/login", "other.example.com").status == 404


REDIRECTS = {
    "scheme": ("{scheme: https, statusCode: 301}", "/x?y", 301, "https://redirect.example/x?y"),
    "full path": ("{path: {type: ReplaceFullPath, replaceFullPath: /paprika}}", "/cayenne/a", 302, "/paprika"),
    "prefix": (
        "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /paprika}, statusCode: 302}",
        "/cayenne/teaspoon",
        302,
        "/paprika/teaspoon",
    ),
    "after a form": (
        "{path: {type: ReplaceFullPath, replaceFullPath: /thank-you}, statusCode: 303}",
        "/f",
        303,
        "/thank-you",
    ),
    "the same method": ("{path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 307}", "/f", 307, "/new"),
    "the same method, for ever": ("{hostname: new.example, statusCode: 308}", "/f", 308, "http://new.example"),
}


def test_redirects(world: Mesh, edge: Edge) -> None:
    rules = ""
    for number, (name, (words, *_)) in enumerate(REDIRECTS.items()):
        path = "/cayenne" if name == "prefix" else "/"
        rules += f"  - matches: [{{headers: [{{name: case, value: '{number}'}}], path: {{value: {path}}}}}]\n"
        rules += f"    filters: [{{type: RequestRedirect, requestRedirect: {words}}}]\n"
    with world.applied(gateway(HTTP) + route("redirects", rules, "redirect.example")):
        for number, (name, (_, path, status, location)) in enumerate(REDIRECTS.items()):
            answer = get(edge[80], path, "redirect.example", "POST", case=str(number))
            assert answer.status == status, name
            assert location in answer.headers["location"], name


def test_a_redirect_from_http_to_https(world: Mesh, edge: Edge) -> None:
    """One Gateway with two listeners, and a route for each of them by sectionName."""
    authority = TestAuthority()
    https = "  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: redirect-example}]}}\n"
    redirect = "  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]\n"
    documents = (
        services("foo-svc")
        + gateway(HTTP + https)
        + route("tls-redirect", redirect, "redirect.example", ", sectionName: http")
        + route("app", "  -" + to("foo-svc")[3:], "redirect.example", ", sectionName: https")
        + secret("redirect-example", authority.issue(dns=("redirect.example",)))
    )
    with world.applied(documents):
        answer = get(edge[80], "/a", "redirect.example")
        assert (answer.status, answer.headers["location"].partition(":")[0]) == (301, "https")
        until("TLS is served", lambda: get_over_tls(edge[443], "/a", "redirect.example", authority.bundle) == 200)


def test_rewrites(world: Mesh, edge: Edge) -> None:
    rewrite = (
        "  - matches: [{path: {type: PathPrefix, value: /cayenne}}]\n    filters:\n"
        "    - type: URLRewrite\n      urlRewrite:\n        hostname: elsewhere.example\n"
        "        path: {type: ReplacePrefixMatch, replacePrefixMatch: /paprika}\n"
    )
    whole = "  - filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /only}}}]\n"
    documents = (
        services("foo-svc")
        + gateway(HTTP)
        + route("r", rewrite + to("foo-svc") + whole + to("foo-svc"), "rewrite.example")
    )
    with world.applied(documents):
        answer = get(edge[80], "/cayenne/teaspoon", "rewrite.example").json()
        assert (answer["host"], answer["path"]) == ("elsewhere.example", "/paprika/teaspoon")
        answer = get(edge[80], "/any/other", "rewrite.example").json()
        assert (answer["host"], answer["path"]) == ("rewrite.example", "/only")


def test_traffic_splitting(world: Mesh, edge: Edge) -> None:
    """A canary that is asked for by a header, then gets a share, then everything."""

    def split(first: int, second: int) -> str:
        weights = {"foo-v1": first, "foo-v2": second}
        shares = (f"{{name: {name}, port: 8080, weight: {weight}}}" for name, weight in weights.items())
        return f"  - backendRefs: [{', '.join(shares)}]\n"

    def answering(count: int, **headers: str) -> Counter[str]:
        return Counter(get(edge[80], "/", "split.example", **headers).json()["workload"] for _ in range(count))

    asked = "  - matches: [{headers: [{name: traffic, value: test}]}]\n" + to("foo-v2") + "  -" + to("foo-v1")[3:]
    with world.applied(services("foo-v1", "foo-v2") + gateway(HTTP) + route("split", asked, "split.example")):
        assert answering(8) == {"echo-v1": 8}
        assert answering(8, traffic="test") == {"echo-v2": 8}
        world.apply(route("split", split(90, 10), "split.example"))
        found = answering(300)
        assert set(found) == {"echo-v1", "echo-v2"}
        assert 4 <= found["echo-v2"] <= 62, found  # 30 expected, five standard deviations and more
        world.apply(route("split", split(0, 1), "split.example"))
        assert answering(20) == {"echo-v2": 20}


def test_header_modifiers(world: Mesh, edge: Edge) -> None:
    filters = """
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        add: [{name: my-header-name, value: my-header-value}]
        set: [{name: my-old-name, value: new}]
        remove: [x-request-unwanted]
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        add: [{name: x-header-add-1, value: one}]
        set: [{name: x-workload, value: hidden}]
        remove: [x-remove-me]
"""
    with world.applied(
        services("foo-svc") + gateway(HTTP) + route("headers", filters + to("foo-svc"), "headers.example")
    ):
        answer = get(edge[80], "/", "headers.example", my_header_name="own", my_old_name="old", x_request_unwanted="1")
        said = [value for name, value in answer.json()["headers"] if name.lower() == "my-header-name"]
        assert "my-header-value" in ",".join(said)
        assert "own" in ",".join(said)
        assert seen(answer)["my-old-name"] == "new"
        assert "x-request-unwanted" not in seen(answer)
        assert (answer.headers["x-header-add-1"], answer.headers["x-workload"]) == ("one", "hidden")
        assert "x-remove-me" not in answer.headers


def test_mirroring(world: Mesh, edge: Edge) -> None:
    mirror = "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: foo-v2, port: 8080}}}]\n" + to(
        "foo-v1"
    )
    where = world.workload("echo-v2")["ports"][0]["application"]

    def copied() -> int:
        counts = get((where["host"], where["port"]), "/counts", "v2").json()["seen"]
        return int(counts.get("/at-the-gateway", 0))

    with world.applied(services("foo-v1", "foo-v2") + gateway(HTTP) + route("mirror", mirror, "mirror.example")):
        answers = {get(edge[80], "/at-the-gateway", "mirror.example").json()["workload"] for _ in range(5)}
        assert answers == {"echo-v1"}
        until("all copies have come", lambda: copied() == 5)


SHARED = (
    "    allowedRoutes:\n      namespaces: {from: Selector, selector: {matchLabels: {shared-gateway-access: 'true'}}}\n"
)
NAMESPACE = '\napiVersion: v1\nkind: Namespace\nmetadata: {name: site-ns, labels: {shared-gateway-access: "%s"}}\n---'
GRANT = f"""
{GATEWAY_API}kind: ReferenceGrant
metadata: {{name: allow-site, namespace: default}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: site-ns}}]
  to: [{{group: "", kind: Service}}]
"""


def test_routes_of_other_namespaces(world: Mesh, edge: Edge) -> None:
    """The Gateway says which namespaces may attach, and the namespace of the Service who may send there."""
    listener = "  - name: http\n    protocol: HTTP\n    port: 80\n" + SHARED
    home = route(
        "home",
        "  - backendRefs: [{name: foo-svc, namespace: default, port: 8080}]\n",
        "foo.example.com",
        namespace="site-ns",
    )
    documents = services("foo-svc") + gateway(listener) + NAMESPACE % "true"
    with world.applied(documents), world.applied(home, check=False):
        assert get(edge[80], "/", "foo.example.com").status == 500, "nobody has granted it"
        with world.applied(GRANT):
            assert get(edge[80], "/", "foo.example.com").json()["workload"] == "echo-v1"
            world.weft("apply", "-f", "-", "--wait", stdin=NAMESPACE % "false", check=False)
            assert get(edge[80], "/", "foo.example.com").status == 404, "its namespace may not attach"


def test_a_certificate_of_another_namespace(world: Mesh, edge: Edge) -> None:
    """It is shown from when its namespace grants it; another name has a listener and a certificate of its own."""
    own, wildcard = TestAuthority(), TestAuthority()
    https = "".join(
        f"  - name: {name}\n    protocol: HTTPS\n    port: 443\n    hostname: '{host}'\n"
        f"    tls: {{certificateRefs: [{{kind: Secret, group: '', name: {name}, namespace: {namespace}}}]}}\n"
        for name, host, namespace in (
            ("foo-https", "foo.example.com", "certs"),
            ("wildcard-https", "*.example.com", "default"),
        )
    )
    grant = GRANT.replace("namespace: default", "namespace: certs").replace("kind: Service", "kind: Secret")
    grant = grant.replace("HTTPRoute, namespace: site-ns", "Gateway, namespace: default")
    documents = services("foo-svc") + gateway(https) + route("app", "  -" + to("foo-svc")[3:])
    documents += secret("foo-https", own.issue(dns=("foo.example.com",)), "certs")
    documents += secret("wildcard-https", wildcard.issue(dns=("*.example.com",)))

    def ask(host: str, authority: TestAuthority) -> int:
        return get_over_tls(edge[443], "/", host, authority.bundle)

    with world.applied(documents, check=False):
        until("the other listener is there", lambda: ask("bar.example.com", wildcard) == 200)
        assert ask("foo.example.com", own) == 0
        with world.applied(grant):
            until("the certificate is shown", lambda: ask("foo.example.com", own) == 200)
