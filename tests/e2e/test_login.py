"""OIDCPolicy at a real gateway with a real OpenID provider: in, out, and everything that must not let anybody in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from support.http import Answer, Client
from support.identity import Browser, identity_provider
from support.mesh import Mesh, until

SECRET = "s3cr3t-of-the-shop-91d2"
DOCUMENTS = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {jwksAllowedNetworks: [127.0.0.0/8, "::1/128"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: login}
spec:
  parentRefs: [{name: front}]
  hostnames: [localhost]
  rules: [{matches: [{path: {value: /shop}}], backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop-login}
stringData: {client-secret: SECRET}
---
apiVersion: weft.dev/v1alpha1
kind: OIDCPolicy
metadata: {name: shop}
spec:
  targetRefs: [{kind: HTTPRoute, name: login}]
  provider: {issuer: "ISSUER"}
  clientID: shop
  clientSecretRef: {name: shop-login}
  scopes: [profile, email, offline_access]
  logoutPath: /shop/logout
  forwardAccessToken: true
  passThrough: [{name: x-program, value: "yes"}]
  denyRedirect: [{name: x-requested-with, value: XMLHttpRequest}]
"""


@pytest.fixture
def shop(world: Mesh, tmp_path: Path) -> Iterator[str]:
    """The shop's URL at the gateway, where one has to log in."""
    port = world.workload("front")["gateway"]["ports"][0][1]["port"]
    page = f"http://localhost:{port}"
    with identity_provider(tmp_path, SECRET, f"{page}/oauth2/callback") as issuer:
        documents = DOCUMENTS.replace("SECRET", SECRET).replace("ISSUER", issuer)
        with world.applied(documents, check=False):
            until("the provider is read", lambda: Client()(f"{page}/shop").status == 302)
            yield page


def test_in_and_out(world: Mesh, shop: str) -> None:
    browser = Browser()
    form = browser.open(f"{shop}/shop/cart?item=1", follow=5)
    assert b"password" in form.body
    back = browser.log_in(form)
    assert back.status == 200, (back, browser.last)
    assert browser.last == f"{shop}/shop/cart?item=1", "back where one wanted to go"
    seen = _headers(back)
    assert seen["authorization"].startswith("Bearer ")
    shown = {part.partition("=")[0].strip() for part in seen["cookie"].split(";")}
    assert "RefreshToken" not in shown, "applications see the tokens of the session, but nothing to renew it with"
    assert "IdToken" in shown
    assert browser.cookies["localhost"]["IdToken"].count(".") != 2, "browsers keep tokens sealed"
    assert browser.open(f"{shop}/shop/").status == 200, "and stays in"
    for line in back.set_cookies:
        assert "HttpOnly" in line
        assert "Secure" in line
    out = browser.open(f"{shop}/shop/logout")
    assert out.status == 302
    assert browser.open(f"{shop}/shop/").status == 302, "one has to log in again"
    _nothing_is_shown(world)


CLAIMS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  jwtRules: [{issuer: "ISSUER", jwksUri: "ISSUERkeys", fromCookies: [IdToken]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  rules:
    - when:
        - {key: "request.auth.claims[sub]", values: [WHO]}
        - {key: request.auth.audiences, values: [shop]}
"""


def test_what_the_token_says_decides(world: Mesh, shop: str) -> None:
    where = urlsplit(Client()(f"{shop}/shop").headers["location"])
    issuer = f"{where.scheme}://{where.netloc}/"
    browser = Browser()
    assert browser.log_in(browser.open(f"{shop}/shop", follow=5)).status == 200
    for who, status in (("ann", 200), ("bob", 403)):
        with world.applied(CLAIMS.replace("ISSUER", issuer).replace("WHO", who), check=False):
            until("the keys are there", lambda: browser.open(f"{shop}/shop").status == status)  # noqa: B023
            program = Client()(f"{shop}/shop", headers={"x-program": "yes"})
            assert program.status == 403, "who passes the login by shows a token"


def test_whoever_is_not_in_gets_nothing(shop: str) -> None:
    client = Client()
    assert client(f"{shop}/shop").status == 302
    assert client(f"{shop}/shop", headers={"x-requested-with": "XMLHttpRequest"}).status == 401
    assert client(f"{shop}/shop", headers={"x-program": "yes"}).status == 200, "programs show tokens of their own"
    assert client(f"{shop}/shop", headers={"x-program": "no"}).status == 302
    assert client(f"{shop}/oauth2/callback").status == 401
    assert client(f"{shop}/elsewhere").status == 404, "the policy is for one route"


def test_a_session_cannot_be_made_up(shop: str) -> None:
    browser = Browser()
    assert browser.log_in(browser.open(f"{shop}/shop", follow=5)).status == 200
    jar = browser.cookies["localhost"]
    assert {"OauthHMAC", "OauthExpires", "BearerToken", "IdToken", "RefreshToken"} <= jar.keys()

    def changed(**values: str) -> int:
        return Browser({"localhost": {**jar, **values}}).open(f"{shop}/shop").status

    # A session that is not in order is made anew from the refresh token, if that is: so that one is changed too.
    refresh = _other(jar["RefreshToken"])
    assert changed() == 200
    for name in ("OauthHMAC", "OauthExpires", "BearerToken", "IdToken"):
        assert changed(**{name: _other(jar[name]), "RefreshToken": refresh}) in (302, 401), name
    assert changed(OauthExpires="99999999999", RefreshToken=refresh) in (302, 401), "nobody prolongs a session"
    assert changed(RefreshToken=refresh) in (302, 401)
    assert Browser({"localhost": {"BearerToken": "x", "OauthHMAC": "x"}}).open(f"{shop}/shop").status == 302


def _other(value: str) -> str:
    """`value` with another first character."""
    return ("A" if value[0] != "A" else "B") + value[1:]


def test_the_way_back_is_ones_own(shop: str) -> None:
    browser = Browser()
    away = browser.open(f"{shop}/shop")
    where = urlsplit(away.headers["location"])
    asked = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert asked["redirect_uri"] == f"{shop}/oauth2/callback"
    assert asked["code_challenge_method"] == "S256"

    def back(state: str, jar: dict[str, str]) -> Answer:
        other = Browser({"localhost": dict(jar)})
        return other.open(f"{shop}/oauth2/callback?" + urlencode({"code": "made-up", "state": state}))

    jar = browser.cookies["localhost"]
    assert back(asked["state"], {}).status == 401, "another browser's login (login CSRF)"
    assert back("", jar).status == 401
    assert back(_with_url(asked["state"], "https://evil.example.net/"), jar).status == 401, "an open redirect"
    twisted = _with(asked["state"], "csrf_token", "0" * 40)
    assert back(twisted, jar).status == 401
    refused = back(asked["state"], jar)
    assert refused.status == 401, "a code that the provider did not give"
    evil = urlunsplit(where._replace(query=urlencode({**asked, "redirect_uri": "https://evil.example.net/cb"})))
    assert browser.open(evil).status == 400, "the provider knows where it sends people back to"


def _with_url(state: str, url: str) -> str:
    return _with(state, "url", url)


def _with(state: str, name: str, value: str) -> str:
    """`state` with one of its fields changed."""
    said = json.loads(base64.urlsafe_b64decode(state + "=" * (-len(state) % 4)))
    assert name in said
    return base64.urlsafe_b64encode(json.dumps({**said, name: value}).encode()).decode().rstrip("=")


def _nothing_is_shown(world: Mesh) -> None:
    for words in (("proxy", "config", "front", "all", "-o", "json"), ("history", "-o", "json"), ("get", "all")):
        assert SECRET not in world.weft(*words).stdout, words
    for log in (*world.logs.glob("*.log"), *world.home.rglob("*.log")):
        assert SECRET.encode() not in log.read_bytes(), log


def _headers(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.json()["headers"]}
