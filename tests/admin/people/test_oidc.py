"""Bearer tokens of an OpenID provider: which are accepted, where keys come from, and what happens when they do not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from support.control import TOKEN, Rig
from weft.admin.api import admin_application
from weft.admin.people.access import Grant, Role
from weft.admin.people.gate import Entrance
from weft.admin.people.oidc import (
    LONGEST_TOKEN,
    Oidc,
    OidcRefusedError,
    OidcSettings,
    OidcSettingsError,
    RoleRule,
    role_rule,
)
from weft.admin.people.provider_keys import (
    KEPT_SECONDS,
    REFRESH_SECONDS,
    SOONEST_SECONDS,
    FetchError,
    ProviderKeys,
    check_url,
    keys_of,
)

AUDIENCE = "weft"
RULES = tuple(map(role_rule, ("groups=sre:operator", "groups=shop:editor:shop,pay", "realm.roles=boss:admin")))


def public(key: Any, kid: str, **more: object) -> dict[str, Any]:
    """A key as a provider publishes it."""
    elliptic = isinstance(key, ec.EllipticCurvePrivateKey)
    shape = jwt.algorithms.ECAlgorithm if elliptic else jwt.algorithms.RSAAlgorithm
    return {**json.loads(shape.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


class Provider:
    """A small OpenID provider on loopback."""

    def __init__(self) -> None:
        self.keys = [public(EC, "ec"), public(RSA, "rsa")]
        self.asked = 0
        self.answer: Callable[[], web.StreamResponse] | None = None
        self.issuer = ""
        self.says_issuer = ""

    async def start(self) -> TestServer:
        application = web.Application()
        application.router.add_get("/.well-known/openid-configuration", self._about)
        application.router.add_get("/jwks", self._jwks)
        server = TestServer(application)
        await server.start_server()
        self.issuer = str(server.make_url("")).rstrip("/").replace("localhost", "127.0.0.1")
        return server

    async def _about(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"issuer": self.says_issuer or self.issuer, "jwks_uri": f"{self.issuer}/jwks"})

    async def _jwks(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        return self.answer() if self.answer else web.json_response({"keys": self.keys})

    def token(self, key: Any = EC, kid: str | None = "ec", algorithm: str = "ES256", **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "exp": now + 60, "groups": ["sre"], **claims}
        headers = {"kid": kid} if kid is not None else {}
        return jwt.encode({name: one for name, one in body.items() if one is not None}, key, algorithm, headers)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found = Provider()
    server = await found.start()
    yield found
    await server.close()


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_provider_that_is_away_is_a_problem(provider: Provider) -> None:
    clock = Clock()
    settings = OidcSettings(provider.issuer, AUDIENCE, RULES)
    keys = ProviderKeys(settings, clock)
    assert keys.problems() == (), "nobody has needed them yet"
    provider.answer = lambda: web.Response(status=500)
    with pytest.raises(OidcRefusedError):
        await keys.key("ec", "ES256")
    (problem,) = keys.problems()
    assert (problem.code, "its tokens are refused" in problem.message) == ("oidc-keys-missing", True)
    provider.answer = None
    clock.now += SOONEST_SECONDS
    await keys.key("ec", "ES256")
    assert keys.problems() == ()


def oidc(provider: Provider, clock: Clock | None = None, **more: Any) -> Oidc:
    settings = OidcSettings(provider.issuer, AUDIENCE, RULES, **more)
    return Oidc(settings, ProviderKeys(settings, clock or time.monotonic))


async def test_claims_become_roles(provider: Provider) -> None:
    checks = oidc(provider)
    found = await checks.principal(provider.token())
    assert (found.name, found.grants, found.proof) == ("alice (oidc)", (Grant(Role.OPERATOR),), "oidc")
    both = await checks.principal(provider.token(groups=["shop", "sre"], sub="b\x1bob"))
    assert both.roles == "editor of shop, pay; operator"
    assert both.name == "b\\x1bob (oidc)", "what comes from outside is printable"
    boss = await checks.principal(provider.token(groups=None, realm={"roles": ["boss"]}))
    assert boss.roles == "admin"
    for key, kid, algorithm in ((RSA, "rsa", "RS256"), (RSA, "rsa", "PS512"), (EC, None, "ES256")):
        assert (await checks.principal(provider.token(key, kid, algorithm, groups="sre"))).roles == "operator"
    named = oidc(provider, name_claim="email")
    assert (await named.principal(provider.token(email="a@b"))).name == "a@b (oidc)"
    with pytest.raises(OidcRefusedError, match="names somebody"):
        await named.principal(provider.token())


def _unsigned(provider: Provider, header: dict[str, Any]) -> str:
    parts = (header, jwt.decode(provider.token(), options={"verify_signature": False}))
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}."


def _shared(provider: Provider, secret: bytes) -> str:
    """Signed with a public key as if it were a shared secret."""
    signed = _unsigned(provider, {"alg": "HS256", "kid": "ec"}).rstrip(".")
    mark = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def _pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.DER, form))


def now() -> int:
    """Asked when a test runs: a suite may be older by then than the ends of what it made when it began."""
    return int(time.time())


ATTACKS: dict[str, tuple[Callable[[Provider], str], str]] = {
    "expired": (lambda one: one.token(exp=now() - 60), "expired"),
    "no end": (lambda one: one.token(exp=None), "lacks"),
    "an end that is no time": (lambda one: one.token(exp="soon"), "no time|not the provider's"),
    "not yet": (lambda one: one.token(nbf=now() + 600), "not valid yet"),
    "from the future": (lambda one: one.token(iat=now() + 600), "not valid yet"),
    "another audience": (lambda one: one.token(aud="other"), "another audience"),
    "no audience": (lambda one: one.token(aud=None), "lacks"),
    "another issuer": (lambda one: one.token(iss="https://evil.example"), "another issuer"),
    "an issuer that begins so": (lambda one: one.token(iss=one.issuer + "/x"), "another issuer"),
    "another key": (lambda one: one.token(OTHER), "signature"),
    "an unknown key": (lambda one: one.token(OTHER, "other"), "does not have"),
    "a key of another type": (lambda one: one.token(RSA, "ec", "RS256"), "does not have"),
    "no role": (lambda one: one.token(groups=["guests"]), "no role"),
    "a group that begins so": (lambda one: one.token(groups=["sre-interns"]), "no role"),
    "alg none": (lambda one: _unsigned(one, {"alg": "none", "kid": "ec"}), "not signed by"),
    "alg None": (lambda one: _unsigned(one, {"alg": "None", "kid": "ec"}), "not signed by|no signed"),
    "the public key as a secret": (
        lambda one: _shared(one, _pem(EC)),
        "not signed by",
    ),
    "a key of its own": (
        lambda one: jwt.encode(
            {"iss": one.issuer, "aud": AUDIENCE, "exp": now() + 60, "sub": "a", "groups": ["sre"]},
            OTHER,
            "ES256",
            {"jwk": public(OTHER, "x"), "jku": "http://127.0.0.1:1/"},
        ),
        "signature",
    ),
    "critical headers": (
        lambda one: _unsigned(one, {"alg": "ES256", "kid": "ec", "crit": ["b64"]}),
        "not signed by|no signed",
    ),
    "a kid that is no text": (lambda one: _unsigned(one, {"alg": "ES256", "kid": 5}), "not signed by|no signed"),
    "no token": (lambda _: "a.b.c", "no signed JSON"),
    "too long": (lambda one: one.token(more="x" * LONGEST_TOKEN), "longer than"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_attacks(provider: Provider, attack: str) -> None:
    make, said = ATTACKS[attack]
    token = make(provider)
    with pytest.raises(OidcRefusedError, match=said) as refused:
        await oidc(provider).principal(token)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(refused.value)


async def test_keys_are_kept_through_outages_for_a_day(provider: Provider) -> None:
    clock = Clock()
    checks = oidc(provider, clock)
    token = provider.token(exp=int(time.time()) + 10 * 86400)
    await checks.principal(token)
    await checks.principal(token)
    assert provider.asked == 1
    provider.answer = lambda: web.Response(status=500)
    clock.now += REFRESH_SECONDS + 1
    await checks.principal(token)
    await checks.principal(token)
    assert provider.asked == 2, "not again at once"
    clock.now += KEPT_SECONDS
    with pytest.raises(OidcRefusedError, match="cannot be had"):
        await checks.principal(token)
    provider.answer = None
    clock.now += SOONEST_SECONDS
    await checks.principal(token)


async def test_a_new_key_is_found_and_guesses_do_not_make_us_ask(provider: Provider) -> None:
    clock = Clock()
    checks = oidc(provider, clock)
    await checks.principal(provider.token())
    provider.keys = [public(OTHER, "new")]
    for number in range(20):
        with pytest.raises(OidcRefusedError):
            await checks.principal(provider.token(OTHER, f"guess{number}"))
    assert provider.asked == 1
    clock.now += SOONEST_SECONDS
    await asyncio.gather(*(checks.principal(provider.token(OTHER, "new")) for _ in range(10)))
    assert provider.asked == 2, "those who ask at once wait for one answer"
    with pytest.raises(OidcRefusedError, match="does not have"):
        await checks.principal(provider.token())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(status=404), "answers with 404"),
        (lambda: web.Response(status=302, headers={"Location": "/jwks"}), "redirects are not followed"),
        (lambda: web.Response(text="no json"), "no JSON"),
        (lambda: web.Response(text="[" * 100_000), "no JSON"),
        (lambda: web.json_response([]), "no JSON object"),
        (lambda: web.json_response({"keys": []}), "no key in it"),
        (lambda: web.Response(body=b" " * 1_000_000), "more than"),
    ],
)
async def test_what_a_provider_may_not_answer(provider: Provider, answer: Any, said: str) -> None:
    provider.answer = answer
    with pytest.raises(OidcRefusedError, match=said):
        await oidc(provider).principal(provider.token())


async def test_a_discovery_document_of_another_issuer_is_refused(provider: Provider) -> None:
    provider.says_issuer = "https://other.example"
    with pytest.raises(OidcRefusedError, match="names another issuer"):
        await oidc(provider).principal(provider.token())


def test_which_keys_are_taken() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    secret = {"kty": "oct", "k": "AAAA", "kid": "secret"}
    encryption = public(EC, "enc", use="enc")
    edwards = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key()))
    bad = [public(weak, "weak"), secret, encryption, {"kty": "EC"}, "nonsense"]
    rows = [*bad, public(EC, "ec"), {**edwards, "kid": "ed"}]
    assert set(keys_of({"keys": rows})) == {"ec", "ed"}
    with pytest.raises(FetchError):
        keys_of({"keys": rows[:-2]})
    with pytest.raises(FetchError):
        keys_of({"keys": "x"})


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example",
        "file:///etc/passwd",
        "http://localhost.evil.example",
        "https://a:b@idp.example",
        "ftp://x",
        "",
    ],
)
def test_where_keys_may_not_come_from(url: str) -> None:
    with pytest.raises(OidcSettingsError, match="expected https"):
        check_url(url, "the issuer")


def test_rules() -> None:
    assert role_rule("groups=sre:operator") == RoleRule("groups", "sre", Grant(Role.OPERATOR))
    assert role_rule("roles=urn:x:y:viewer").value == "urn:x:y"
    assert role_rule("groups=a:b:editor:shop").grant == Grant(Role.EDITOR, ("shop",))
    bad = "groups groups=sre groups=:viewer groups=a:editr groups=a:editor groups=a:viewer:shop g=a:editor:"
    for wrong in bad.split():
        with pytest.raises(OidcSettingsError):
            role_rule(wrong)


async def test_at_the_admin_api(rig: Rig, provider: Provider) -> None:
    application = admin_application(rig.parts, TOKEN, entrance=Entrance(oidc=oidc(provider)))
    server = TestServer(application)
    await server.start_server()
    try:
        async with aiohttp.ClientSession() as session:
            token = provider.token()
            for path, status in (("/v1/self", 200), ("/v1/principals", 200)):
                async with session.get(server.make_url(path), headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == status
            async with session.post(
                server.make_url("/v1/principals"), headers={"Authorization": f"Bearer {token}"}, json={}
            ) as response:
                assert (response.status, (await response.json())["code"]) == (403, "not-permitted")
            bad = provider.token(aud="other")
            async with session.get(server.make_url("/v1/self"), headers={"Authorization": f"Bearer {bad}"}) as response:
                assert response.status == 401
                assert "another audience" in (await response.json())["error"]
    finally:
        await server.close()
    events = await rig.audited()
    assert {one.who for one in events} >= {"127.0.0.1"}
    assert all(token not in repr(one) and bad not in repr(one) for one in events)
