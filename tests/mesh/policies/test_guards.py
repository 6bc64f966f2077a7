"""Guards: which policy holds for which Gateway and route, and what lets nobody in."""

from __future__ import annotations

import base64

import pytest

from support.meshdocs import gateway_workload, service, workload
from weft.mesh.access.guard import ApiKeys, Guard, Login, Passwords, SameSite
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, Respond, Rule
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView
from weft.model.openid import OpenIdEndpoints
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.schema.decode import decode_documents

WORLD = f"""{service("web")}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{gatewayClassName: weft, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.example.com]
  rules: [{{backendRefs: [{{name: web, port: 9080}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: blog}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [blog.example.com]
  rules: [{{backendRefs: [{{name: web, port: 9080}}]}}]
"""
SHA = "{SHA}" + base64.b64encode(b"x" * 20).decode()


def secret(name: str, namespace: str = "default", **entries: str) -> str:
    lines = "".join(f"  {key.replace('_', '-')}: '{value}'\n" for key, value in entries.items())
    return (
        f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n{lines}"
    )


def policy(kind: str, name: str, target: str, spec: str) -> str:
    """`target` is ``KIND NAME``."""
    what, _, which = target.partition(" ")
    head = f"---\napiVersion: weft.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{targetRefs: [{{kind: {what}, name: {which}}}], {spec}}}\n"


KEYS = "apiKey: {from: {headers: [x-key]}, secretRefs: [{name: keys}]}"
USERS = "basicAuth: {users: {name: users}}"
LOGIN = "provider: {issuer: 'https://id.example.com'}, clientID: shop, clientSecretRef: {name: login}"
SECRETS = (
    secret("keys", acme="key-1")
    + secret("login", client_secret="shared")
    + (f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\nstringData: {{.htpasswd: 'ann:{SHA}'}}\n")
)
SAID = OpenIdEndpoints("https://id.example.com", "https://id.example.com/auth", "https://id.example.com/token")


class Edge:
    """What a gateway proxy does with these documents."""

    def __init__(self, *texts: str, said: tuple[OpenIdEndpoints, ...] = (SAID,), key: bytes = b"k") -> None:
        decoded = decode_documents(WORLD + "".join(texts), "mesh.yaml")
        settings = MeshSettings(cookie_key=key)
        found = tuple(sorted(decoded.documents, key=lambda each: each.key))
        proxy = gateway_workload("edge")
        snapshot = ConfigSnapshot(1, found, (workload("web"), proxy), decoded.problems, settings, endpoints=said)
        memo = Memo()
        memo.begin()
        self.mesh = build_mesh(snapshot, memo)
        view = build_view(self.mesh, proxy, memo)
        assert isinstance(view, GatewayView)
        self.view = view
        self.codes = [problem.code for problem in self.mesh.problems]

    def rules(self, host: str) -> tuple[Rule, ...]:
        hosts = [each for server in self.view.ports[0].servers for each in server.virtual_hosts]
        return next(each.rules for each in hosts if each.domains == (f"{host}.example.com",))

    def guard(self, host: str) -> Guard:
        """That of a route's only rule."""
        found = self.rules(host)[-1].guard
        assert found is not None
        return found

    def closed(self, host: str) -> bool:
        """Whether nobody passes."""
        action = self.rules(host)[-1].action
        return isinstance(action, Respond) and action.status == 403


def test_a_route_has_its_own_and_what_its_gateway_has_of_other_kinds() -> None:
    edge = Edge(
        SECRETS,
        policy("CredentialPolicy", "wide", "Gateway edge", KEYS),
        policy("CredentialPolicy", "own", "HTTPRoute shop", USERS),
        policy("CsrfPolicy", "wide", "Gateway edge", "additionalOrigins: [friend.example.com]"),
    )
    assert edge.codes == []
    shop, blog = edge.guard("shop"), edge.guard("blog")
    keys = blog.find(ApiKeys)
    assert shop.find(Passwords) is not None
    assert shop.find(ApiKeys) is None
    assert keys is not None
    assert keys.clients == (("acme", "key-1"),)
    assert shop.find(SameSite) == blog.find(SameSite) == SameSite(("friend.example.com",))
    assert "key-1" not in repr(keys)


CALLS = """---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: edge}]
  hostnames: [calls.example.com]
  rules: [{backendRefs: [{name: web, port: 9080}]}]
"""


def test_a_grpcroute_is_guarded_as_an_httproute_is() -> None:
    edge = Edge(CALLS, SECRETS, policy("CredentialPolicy", "own", "GRPCRoute calls", USERS))
    assert edge.codes == []
    assert edge.guard("calls").find(Passwords) is not None
    assert edge.rules("shop")[-1].guard is None


def test_what_cannot_be_read_closes_grpcroutes_of_its_namespace_too() -> None:
    bad = policy("CredentialPolicy", "bad", "GRPCRoute calls", USERS).replace("GRPCRoute", "NoSuchRoute")
    edge = Edge(CALLS, SECRETS, bad)
    assert [edge.closed(host) for host in ("calls", "shop", "blog")] == [True, True, True]


def test_rules_without_a_policy_are_as_they_were() -> None:
    edge = Edge(SECRETS, policy("CredentialPolicy", "own", "HTTPRoute shop", KEYS))
    assert edge.rules("blog")[-1].guard is None
    assert isinstance(edge.rules("blog")[-1].action, Forward)


def test_routes_of_istio_have_what_their_gateway_has() -> None:
    route = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old}
spec: {hosts: [old.example.com], gateways: [edge], http: [{route: [{destination: {host: web, port: {number: 9080}}}]}]}
"""
    edge = Edge(SECRETS, route, policy("CredentialPolicy", "wide", "Gateway edge", KEYS))
    assert edge.codes == []
    assert edge.guard("old").find(ApiKeys) is not None


def test_a_login_has_paths_of_its_own() -> None:
    edge = Edge(SECRETS, policy("OIDCPolicy", "own", "HTTPRoute shop", LOGIN))
    back, out, rule = edge.rules("shop")
    assert [back.match.path.value, out.match.path.value] == ["/oauth2/callback", "/logout"]  # type: ignore[union-attr]
    login = rule.guard.find(Login) if rule.guard else None
    assert isinstance(login, Login)
    assert (login.server.host, login.server.port) == ("id.example.com", 443)
    assert login.scopes == ("openid",)
    assert back.guard is not None
    assert back.guard.find(Login) is login
    assert login.secret == b"shared"
    assert "shared" not in repr(login)
    other = Edge(SECRETS, policy("OIDCPolicy", "own", "HTTPRoute shop", LOGIN), key=b"another")
    again = other.rules("shop")[-1].guard
    assert again is not None
    resealed = again.find(Login)
    assert resealed is not None
    assert resealed.cookie_key != login.cookie_key, "it is derived from the control plane's own"


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ((policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS),), ["unknown-secret"]),
        ((secret("keys", acme=""), policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS)), ["bad-credential"]),
        ((secret("keys", acme="a b"), policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS)), ["bad-credential"]),
        (
            (secret("keys", acme="same", bolt="same"), policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS)),
            ["bad-credential"],
        ),
        ((secret("users", htpasswd="x"), policy("CredentialPolicy", "p", "HTTPRoute shop", USERS)), ["bad-credential"]),
        (
            (
                secret("keys", "other", acme="key"),
                policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS.replace("keys}", "keys, namespace: other}")),
            ),
            ["reference-not-granted"],
        ),
        ((secret("login", other="x"), policy("OIDCPolicy", "p", "HTTPRoute shop", LOGIN)), ["bad-credential"]),
        (
            (SECRETS, policy("OIDCPolicy", "p", "HTTPRoute shop", LOGIN.replace("id.example", "other.example"))),
            ["provider-unread"],
        ),
        (
            (
                SECRETS,
                policy(
                    "OIDCPolicy",
                    "p",
                    "HTTPRoute shop",
                    LOGIN.replace(
                        "{issuer:",
                        "{authorizationEndpoint: 'https://a.example', tokenEndpoint: 'https://localhost', issuer:",
                    ),
                ),
            ),
            ["provider-unreachable"],
        ),
    ],
)
def test_what_is_not_in_order_lets_nobody_in(texts: tuple[str, ...], codes: list[str]) -> None:
    edge = Edge(*texts)
    assert edge.codes == codes
    assert edge.closed("shop")
    assert not edge.closed("blog")


def test_of_two_for_one_target_the_first_is_in_force() -> None:
    edge = Edge(
        SECRETS,
        policy("CredentialPolicy", "a", "HTTPRoute shop", KEYS),
        policy("CredentialPolicy", "b", "HTTPRoute shop", USERS),
    )
    assert edge.codes == ["policy-conflict"]
    assert edge.guard("shop").find(ApiKeys) is not None


def test_a_target_that_is_not_there_is_told() -> None:
    assert Edge(SECRETS, policy("CsrfPolicy", "p", "HTTPRoute shpo", "additionalOrigins: []")).codes == [
        "unknown-target"
    ]


def test_what_cannot_be_understood_closes_what_it_names() -> None:
    named = Edge(SECRETS, policy("CredentialPolicy", "p", "HTTPRoute shop", "apiKeys: {}"))
    assert "policy-unreadable" in named.codes
    assert named.closed("shop")
    assert not named.closed("blog")
    misspelt = Edge(SECRETS, policy("CredentialPolicy", "p", "HTTPRout shop", KEYS))
    assert misspelt.closed("shop")
    broken = "---\napiVersion: weft.dev/v1alpha1\nkind: OIDCPolicy\nmetadata: {name: p}\nspec: {targetRefs: 7}\n"
    everything = Edge(SECRETS, broken, policy("CredentialPolicy", "p", "HTTPRoute shop", KEYS))
    assert everything.closed("shop")
    assert everything.closed("blog")
