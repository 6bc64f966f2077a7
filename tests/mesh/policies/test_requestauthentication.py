"""RequestAuthentication: which rules hold at which ports and gateways, with which keys, and what is wrong between."""

from __future__ import annotations

import json

import pytest

from support.meshdocs import Compiled, gateway_workload, service, workload
from support.tokens import Issuer, jwk
from weft.mesh.access.access import Access
from weft.mesh.access.tokens import DEFAULT_PLACES, TokenPlace
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.policies.requestauthentication import KIND
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView, SidecarView
from weft.model.jwks import KeySet, read_key_set
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.schema.decode import decode_documents

ISSUER = Issuer()
KEYS = "https://issuer.example/keys"
TEXT = read_key_set(ISSUER.jwks).text
REVIEWS = service("reviews")
RULE = f"{{issuer: 'https://issuer.example', jwksUri: '{KEYS}'}}"


def policy(name: str = "tokens", rules: str = RULE, scope: str = "", namespace: str = "default", note: str = "") -> str:
    annotations = f", annotations: {{weft.dev/jwks-fetch: {note}}}" if note else ""
    return f"""
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: {namespace}{annotations}}}
spec: {{{f"{scope}, " if scope else ""}jwtRules: [{rules}]}}
"""


GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: default}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
"""
EDGE = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"


class World:
    """A mesh that has these keys."""

    def __init__(self, text: str, keys: tuple[KeySet, ...] = (), memo: Memo | None = None) -> None:
        self.memo = memo or Memo()
        self.memo.begin()
        self.mesh = build_mesh(ConfigSnapshot(1, decode_documents(text, "mesh.yaml").documents, keys=keys), self.memo)

    def inbound(self, name: str = "reviews", namespace: str = "default") -> Access:
        view = build_view(self.mesh, called(name, namespace), self.memo)
        assert isinstance(view, SidecarView)
        return view.inbound[0].access

    def gateway(self) -> Access:
        view = build_view(self.mesh, gateway_workload("edge"), self.memo)
        assert isinstance(view, GatewayView)
        return view.ports[0].access

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.mesh.problems]


WORKLOADS: dict[tuple[str, str], Workload] = {}


def called(name: str, namespace: str) -> Workload:
    return WORKLOADS.setdefault((name, namespace), workload(name, namespace=namespace))


def names(access: Access) -> list[str]:
    return [policy.object.name for policy in access.tokens]


def test_all_that_are_for_a_workload_hold_together() -> None:
    text = (
        REVIEWS
        + policy("all", namespace="istio-system")
        + policy("space")
        + policy("mine", scope="selector: {matchLabels: {app: reviews}}")
        + policy("other", scope="selector: {matchLabels: {app: ratings}}")
        + policy("service", scope="targetRefs: [{kind: Service, name: reviews}]")
        + policy("elsewhere", namespace="shop")
    )
    world = World(text)
    assert sorted(names(world.inbound())) == ["all", "mine", "service", "space"]
    assert sorted(names(world.inbound("x", "shop"))) == ["all", "elsewhere"]
    assert sorted(names(world.inbound("x", "y"))) == ["all"]


def test_a_gateway_is_named_or_stands_in_the_namespace() -> None:
    text = REVIEWS + GATEWAY + policy("edge", scope=EDGE) + policy("space") + policy("far", namespace="shop")
    assert sorted(names(World(text).gateway())) == ["edge", "space"]


def test_what_a_rule_says() -> None:
    rule = """{issuer: i, jwks: '%s', audiences: [a], fromHeaders: [{name: X-Token, prefix: "T "}], fromParams: [t],
        fromCookies: [c], outputPayloadToHeader: X-Payload, outputClaimToHeaders: [{header: X-Sub, claim: a.b}],
        forwardOriginalToken: true, spaceDelimitedClaims: [roles]}"""
    (found,) = World(REVIEWS + policy(rules=rule % ISSUER.jwks)).inbound().tokens
    (rule_,) = found.rules
    assert rule_.places == (
        TokenPlace("header", "x-token", "T "),
        TokenPlace("parameter", "t"),
        TokenPlace("cookie", "c"),
    )
    assert (rule_.issuer, rule_.audiences, rule_.keys, rule_.fetched) == ("i", ("a",), TEXT, None)
    assert (rule_.payload_header, rule_.claim_headers) == ("x-payload", (("x-sub", "a.b"),))
    assert (rule_.forward, rule_.lists) == (True, ("roles",))
    (plain,) = World(REVIEWS + policy()).inbound().tokens[0].rules
    assert (plain.places, plain.keys, plain.audiences) == (DEFAULT_PLACES, "", ())


def test_keys_that_came_are_those_of_the_rule_and_change_nothing_else() -> None:
    memo = Memo()
    text = REVIEWS + policy() + policy("other", scope="targetRefs: [{kind: Service, name: reviews}]", rules=RULE)
    before = World(text, memo=memo)
    assert [rule.keys for each in before.inbound().tokens for rule in each.rules] == ["", ""]
    after = World(text, (KeySet(KEYS, TEXT), KeySet("https://other.example", "x")), memo)
    assert [rule.keys for each in after.inbound().tokens for rule in each.rules] == [TEXT, TEXT]
    assert World(REVIEWS, (KeySet(KEYS, TEXT),)).inbound().tokens == ()


def test_who_fetches_the_keys() -> None:
    (found,) = World(REVIEWS + policy(note="proxy")).inbound().tokens
    fetched = found.rules[0].fetched
    assert fetched is not None
    assert (fetched.uri, fetched.server.host, fetched.server.port) == (KEYS, "issuer.example", 443)
    rule = "{issuer: x, jwksUri: 'http://reviews:9080/keys'}"
    (found,) = World(REVIEWS + policy(rules=rule, note="proxy")).inbound().tokens
    fetched = found.rules[0].fetched
    assert fetched is not None and fetched.server.backend is not None
    assert fetched.server.backend[:2] == ("reviews.default.svc.cluster.local", 9080)


@pytest.mark.parametrize(
    ("rule", "note", "message"),
    [
        ("{issuer: x, jwksUri: 'http://issuer.example/keys'}", "", "not fetched in plaintext"),
        ("{issuer: x, jwksUri: 'http://10.0.0.1/keys'}", "", "not fetched in plaintext"),
        ("{issuer: x, jwksUri: 'http://issuer.example/keys'}", "proxy", "not fetched in plaintext"),
        ("{issuer: x, jwksUri: 'http://reviews:9080/keys'}", "", "is a service of the mesh"),
        ("{issuer: x, jwksUri: 'https://reviews.default.svc.cluster.local/keys'}", "", "is a service of the mesh"),
        ("{issuer: x, jwksUri: 'http://reviews:1/keys'}", "proxy", "has no such port"),
        ("{issuer: 'https://issuer.example'}", "proxy", "from 'jwksUri' only"),
    ],
)
def test_keys_that_nobody_fetches_are_told_of_and_the_tokens_refused(rule: str, note: str, message: str) -> None:
    world = World(REVIEWS + policy(rules=rule, note=note))
    (problem,) = world.mesh.problems
    assert (problem.code, message in problem.message) == ("keys-unreachable", True), problem.message
    assert "are refused" in problem.message
    (found,) = world.inbound().tokens
    assert (found.rules[0].keys, found.rules[0].fetched) == ("", None)


def test_loopback_may_be_asked_in_plaintext_where_the_mesh_allows_it() -> None:
    assert World(REVIEWS + policy(rules="{issuer: x, jwksUri: 'http://127.0.0.1:1/keys'}")).codes == []


def test_one_that_cannot_be_understood_closes_what_it_names() -> None:
    broken = policy(rules="{issuer: x, jwks: nothing}", scope="selector: {matchLabels: {app: reviews}}")
    world = World(REVIEWS + service("ratings") + broken)
    assert [closed.object.kind for closed in world.inbound().closed if closed.object] == [KIND]
    assert world.inbound("ratings").closed == ()
    assert "policy-unreadable" in world.codes
    assert World(REVIEWS + GATEWAY + policy(rules="{}", scope=EDGE)).gateway().closed


def test_a_target_that_is_not_there_is_told_of() -> None:
    world = World(REVIEWS + policy(scope="targetRefs: [{kind: Service, name: review}]"))
    assert world.codes == ["unknown-target"]


ROUTE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [reviews]
  gateways: [GATEWAYS]
  http:
    - match: [{FIELD: {"@request.auth.claims.team": {exact: red}}}]
      route: [{destination: {host: reviews}}]
    - route: [{destination: {host: reviews}}]
"""


@pytest.mark.parametrize("field", ["headers", "withoutHeaders"])
def test_claims_are_looked_at_where_tokens_are_checked(field: str) -> None:
    route = ROUTE.replace("FIELD", field)
    at_edge = REVIEWS + GATEWAY.partition("---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute")[0]
    at_edge += route.replace("GATEWAYS", "edge")
    assert World(at_edge).codes == ["claims-unknown"]
    for scope in (EDGE, "", "selector: {matchLabels: {app: edge}}"):
        world = World(at_edge + policy(scope=scope))
        assert "claims-unknown" not in world.codes
    assert World(at_edge + policy(scope=EDGE)).gateway().reroutes
    assert "claims-unknown" in World(at_edge + policy(namespace="shop")).codes
    (problem,) = World(REVIEWS + policy() + route.replace("GATEWAYS", "mesh")).mesh.problems
    assert (problem.code, "inside the mesh" in problem.message) == ("claims-unknown", True)
    assert problem.path[-2:] == (field, "@request.auth.claims.team")


def test_without_routes_by_claims_nothing_is_chosen_again() -> None:
    assert not World(REVIEWS + GATEWAY + policy(scope=EDGE)).gateway().reroutes


def test_the_same_policies_are_one_access() -> None:
    world = World(REVIEWS + policy())
    assert world.inbound("a").tokens[0] is world.inbound("b").tokens[0]
    assert Compiled(REVIEWS + policy()).codes == []


def test_inline_keys_are_read_strictly() -> None:
    weak = json.dumps({"keys": [jwk(ISSUER.key), {"kty": "oct", "k": "c2VjcmV0"}]})
    assert World(REVIEWS + policy(rules=f"{{issuer: x, jwks: '{weak}'}}")).inbound().closed


ASKING = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asking, namespace: default}
spec: {SCOPE rules: [{}, {from: [{source: {requestPrincipals: ["*"]}}]}]}
"""
REVIEWS_ONLY = "selector: {matchLabels: {app: reviews}}"


@pytest.mark.parametrize(
    ("asking", "checked", "told"),
    [
        ("", None, True),
        ("", "", False),
        (REVIEWS_ONLY, "", False),
        ("", REVIEWS_ONLY, False),
        (REVIEWS_ONLY, "selector: {matchLabels: {app: ratings}}", True),
        (REVIEWS_ONLY, "selector: {matchLabels: {version: v1}}", False),
        (EDGE, "", False),
        (EDGE, EDGE, False),
        (EDGE, "targetRefs: [{kind: Service, name: reviews}]", True),
        (REVIEWS_ONLY, "targetRefs: [{kind: Service, name: reviews}]", False),
    ],
)
def test_a_policy_that_asks_for_tokens_where_nobody_checks_any_is_told_of(
    asking: str, checked: str | None, told: bool
) -> None:
    text = REVIEWS + GATEWAY + ASKING.replace("SCOPE", f"{asking}," if asking else "")
    world = World(text + (policy(scope=checked) if checked is not None else ""))
    assert [code for code in world.codes if code == "tokens-unchecked"] == (["tokens-unchecked"] if told else [])
    assert [one.path for one in world.mesh.problems if one.code == "tokens-unchecked"] == (
        [("spec", "rules", 1)] if told else []
    )
