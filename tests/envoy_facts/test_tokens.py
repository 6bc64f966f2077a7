"""Facts of Envoy: which tokens pass, which do not, and that nobody writes by hand what only a token may say."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from support.envoy import RunningEnvoy, free_port
from support.loopback import Connection, Response, echo_server
from support.proxy import running_view
from support.tokens import ISSUER, Issuer, jwk, key_set, new_key, part, rsa_key
from support.views import (
    ORIGIN,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.access.access import Access
from weft.mesh.access.tokens import DEFAULT_PLACES, TokenPlace, TokenPolicy, TokenRule
from weft.mesh.routes.rules import ClaimMatch, Fault, RequestMatch, Respond, Rule, TextMatch
from weft.model.document import ObjectKey
from weft.model.jwks import read_key_set

OBJECT = ObjectKey("security.istio.io", "RequestAuthentication", "default", "tokens")
GOOD = Issuer()
RSA = Issuer("https://rsa.example", "RS256", "r1", rsa_key())


def accepted(issuer: Issuer = GOOD, number: int = 0, **changes: Any) -> TokenRule:
    rule = TokenRule(number, ORIGIN, issuer.name, DEFAULT_PLACES, keys=read_key_set(issuer.jwks).text)
    return replace(rule, **changes)


def policy(*rules: TokenRule) -> TokenPolicy:
    return TokenPolicy(OBJECT, ORIGIN, rules)


@dataclass
class Place:
    """A gateway before an application that answers with what it got."""

    port: int
    envoy: RunningEnvoy

    async def ask(self, *headers: str, path: str = "/") -> Response:
        async with Connection(self.port) as client:
            return await client.request(path, "shop.example.com", *headers)

    async def bearer(self, token: str, *headers: str) -> Response:
        return await self.ask(f"Authorization: Bearer {token}", *headers)


@contextlib.asynccontextmanager
async def place(tmp_path: Path, *rules: TokenRule, **changes: Any) -> AsyncIterator[Place]:
    access = Access(tokens=(policy(*rules),), **changes)
    port = free_port()
    async with echo_server("shop") as application:
        view = gateway(
            gateway_port(port, access=access),
            targets=targets(target(endpoint(application.port), to=backend(transport=PLAINTEXT))),
        )
        async with running_view(view, tmp_path) as (envoy, _):
            yield Place(port, envoy)


def hs256_with_the_public_key() -> str:
    """Signed with what everybody knows, as if it were a secret (algorithm confusion)."""
    public = (
        rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    claims = {"iss": RSA.name, "sub": "mallory", "exp": int(time.time()) + 600}
    signed = f"{part({'alg': 'HS256', 'kid': 'r1', 'typ': 'JWT'})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def unsigned(algorithm: str) -> str:
    claims = {"iss": ISSUER, "sub": "mallory", "exp": int(time.time()) + 600}
    return f"{part({'alg': algorithm, 'kid': 'k1'})}.{part(claims)}."


def resigned(token: str, **claims: Any) -> str:
    """Another payload under the same signature."""
    head, payload, signature = token.split(".")
    del payload
    return f"{head}.{part({'iss': ISSUER, 'sub': 'mallory', 'exp': int(time.time()) + 600, **claims})}.{signature}"


NOW = int(time.time())
STRANGER = Issuer(key=new_key())
WRONG = {
    "expired": GOOD.token(exp=NOW - 120),
    "not yet valid": GOOD.token(nbf=NOW + 86_400),
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "no alg": f"{part({})}.{part({'iss': ISSUER})}.",
    "HS256 with the public key": hs256_with_the_public_key(),
    "another issuer with the right key": GOOD.token(iss="https://other.example"),
    "issuer in another case": GOOD.token(iss=ISSUER.upper()),
    "issuer with a slash": GOOD.token(iss=f"{ISSUER}/"),
    "no issuer": GOOD.token(iss=None),
    "the other issuer's key": Issuer(RSA.name, "ES256", "k1", GOOD.key).token(),
    "another key of the same id": STRANGER.token(),
    "an unknown key id": GOOD.token(headers={"kid": "k2"}),
    "a key in its own header": STRANGER.token(headers={"jwk": jwk(STRANGER.key)}),
    "keys from its own address": STRANGER.token(headers={"jku": "https://evil.example/jwks", "x5u": "file:///x"}),
    "another payload": resigned(GOOD.token()),
    "without its signature": GOOD.token().rpartition(".")[0] + ".",
    "two parts": GOOD.token().rpartition(".")[0],
    "four parts": GOOD.token() + ".x",
    "no token": "x",
    "empty parts": "..",
    "not JSON": f"{part(b'x')}.{part(b'x')}.x",
    "with a comma": GOOD.token() + "," + STRANGER.token(),
    "with a blank": GOOD.token() + " " + STRANGER.token(),
    "deep": f"{part(b'[' * 5000)}.{part(b'[' * 5000)}.x",
}


async def test_tokens_that_are_wrong_are_refused_and_right_ones_pass(tmp_path: Path) -> None:
    async with place(tmp_path, accepted(), accepted(RSA, 1)) as here:
        assert (await here.ask()).status == 200, "a token is not asked for"
        assert (await here.ask("Authorization: Basic YTpi")).status == 200
        for issuer in (GOOD, RSA):
            for token in (issuer.token(), issuer.token(exp=None), issuer.token(nbf=NOW - 10)):
                answer = await here.bearer(token)
                assert answer.status == 200
                assert "authorization" not in answer.json()["headers"]
        for why, token in WRONG.items():
            answer = await here.bearer(token)
            assert answer.status == 401, why
            assert token[:16] not in answer.body.decode(), why
            assert answer.headers["www-authenticate"].startswith("Bearer "), why
        assert (await here.bearer(GOOD.token(pad="x" * 100_000))).status in (431, 401), "huge"
        assert (await here.ask(path="/?access_token=" + WRONG["expired"])).status == 401
        assert (await here.ask(path="/?%61ccess_token=" + WRONG["expired"])).status == 401
        answer = await here.ask(path="/a?access_token=" + GOOD.token() + "&x=1")
        assert (answer.status, answer.json()["path"]) == (200, "/a?x=1")


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer {good}", "Authorization: Bearer {bad}"),
        ("Authorization: Bearer {bad}", "Authorization: Bearer {good}"),
        ("Authorization: Bearer {good}, Bearer {bad}",),
        ("Authorization: Basic YTpi, Bearer {bad}",),
        ("Authorization: Basic YTpi", "Authorization: bearer {bad}"),
        ("Authorization: bearer {bad}",),
        ("Authorization: BEARER {bad}",),
        ("Authorization: Bearer\t{bad}",),
        ("Authorization: bearer\t{bad}",),
        ("Authorization: Bearer  {bad}",),
        ("Authorization: Bearer {good}", "x-token: {bad}"),
        ("Authorization: Bearer {bad}", "x-token: {good}"),
        ("x-token: {good}", "x-token: {bad}"),
        ("x-token: {bad}", "x-token: {good}"),
        ("cookie: session={bad}",),
        ("cookie: session={bad}; session={good}",),
        ("cookie: session={bad}", "Authorization: Bearer {good}"),
    ],
)
async def test_every_token_in_a_request_has_to_be_valid(lines: tuple[str, ...], tmp_path: Path) -> None:
    """An application may look at another one than the proxy did, or read a scheme in any case."""
    places = (*DEFAULT_PLACES, TokenPlace("header", "x-token"), TokenPlace("cookie", "session"))
    bad = WRONG["another payload"]
    async with place(tmp_path, accepted(places=places)) as here:
        assert (await here.ask(*(line.format(good=GOOD.token(), bad=bad) for line in lines))).status == 401


BEARER, PARAMETER = DEFAULT_PLACES
OWN = TokenPlace("header", "x-token")


@pytest.mark.parametrize(
    ("good", "rsa"),
    [
        ((BEARER,), (OWN,)),
        ((BEARER, PARAMETER), (BEARER, OWN)),
        ((BEARER, OWN), (OWN,)),
        ((BEARER, OWN), (BEARER, OWN)),
    ],
)
async def test_several_issuers_whatever_places_they_share(
    good: tuple[TokenPlace, ...], rsa: tuple[TokenPlace, ...], tmp_path: Path
) -> None:
    """A token passes where it stands in a place of its issuer; another token beside it does not help a wrong one."""
    rules = (accepted(places=good), accepted(RSA, 1, places=rsa))
    tokens = {"good": GOOD.token(), "rsa": RSA.token(), "bad": STRANGER.token()}
    async with place(tmp_path, *rules) as here:
        for first in ("", *tokens):
            for second in ("", *tokens):
                lines = [f"Authorization: Bearer {tokens[first]}"] if first else []
                lines += [f"x-token: {tokens[second]}"] if second else []
                looked_at = {each for places in (good, rsa) for each in places}
                right = all(
                    not word or place_ not in looked_at or place_ in {"good": good, "rsa": rsa}.get(word, ())
                    for word, place_ in ((first, BEARER), (second, OWN))
                )
                assert ((await here.ask(*lines)).status == 200) is right, (first, second)


async def test_audiences_and_rules_of_one_issuer(tmp_path: Path) -> None:
    rules = (accepted(audiences=("shop", "store")), accepted(number=1, audiences=("desk",), places=(OWN,)))
    async with place(tmp_path, *rules) as here:
        for audience, status in (("shop", 200), (["x", "store"], 200), ("desk", 403), (None, 403), ("shopping", 403)):
            assert (await here.bearer(GOOD.token(aud=audience))).status == status
        assert (await here.ask(f"x-token: {GOOD.token(aud='desk')}")).status == 200
        assert (await here.ask(f"x-token: {GOOD.token(aud='shop')}")).status == 403


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("others", [(), (accepted(RSA, 1, claim_headers=(("x-role", "role"), ("x-subject", "sub"))),)])
async def test_what_a_token_says_is_written_and_nobody_else_writes_it(
    forward: bool, others: tuple[TokenRule, ...], tmp_path: Path
) -> None:
    claims = (("x-subject", "sub"), ("x-city", "address.city"), ("x-groups", "groups"), ("x-admin", "admin"))
    rule = accepted(payload_header="x-payload", claim_headers=claims, forward=forward)
    lies = [f"{name}: evil" for name in ("x-subject", "X-City", "x-groups", "x-admin", "X-Payload")]
    lies += ["x-role: evil"] if others else []
    async with place(tmp_path, rule, *others) as here:
        token = GOOD.token(address={"city": "Turin"}, groups=["a", "b"])
        told = (await here.bearer(token, *lies, *lies)).json()["headers"]
        assert (told["x-subject"], told["x-city"]) == ("alice", "Turin")
        assert told.get("authorization") == (f"Bearer {token}" if forward else None)
        assert told["x-payload"].startswith("eyJ")
        assert not {"x-admin", "x-role"} & told.keys()
        for extra in ((), ("Authorization: Basic YTpi",)):
            told = (await here.ask(*lies, *lies, *extra)).json()["headers"]
            assert not {"x-subject", "x-city", "x-groups", "x-admin", "x-payload", "x-role"} & told.keys()
        preflight = ["Origin: https://a.example", "Access-Control-Request-Method: GET"]
        async with Connection(here.port) as client:
            answer = await client.request("/", "shop.example.com", *preflight, *lies, method="OPTIONS")
        assert "evil" not in json.dumps(answer.json()["headers"])


async def test_without_keys_tokens_are_refused_and_requests_without_pass(tmp_path: Path) -> None:
    async with place(tmp_path, accepted(keys=""), accepted(RSA, 1)) as here:
        assert (await here.ask()).status == 200
        assert (await here.bearer(GOOD.token())).status == 401
        assert (await here.bearer(RSA.token())).status == 200


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
async def test_keys_that_are_read_are_keys_that_envoy_takes(algorithm: str, tmp_path: Path) -> None:
    key = rsa_key() if algorithm in ("RS512", "PS256") else new_key(algorithm)
    issuer = Issuer(ISSUER, algorithm, "k1", key)
    weaker = key_set(jwk(key, "k1"), {"kty": "oct", "k": "c2VjcmV0", "kid": "k0"})
    async with place(tmp_path, accepted(keys=read_key_set(weaker).text)) as here:
        assert (await here.bearer(issuer.token())).status == 200
        assert (await here.bearer(GOOD.token())).status == 401


def by_claim(path: tuple[str, ...], match: TextMatch, status: int, *, invert: bool = False) -> Rule:
    return rule(Respond(status), RequestMatch(claims=(ClaimMatch(path, match, invert),)))


@contextlib.asynccontextmanager
async def routed(tmp_path: Path, *rules: Rule) -> AsyncIterator[Place]:
    port = free_port()
    access = Access(tokens=(policy(accepted(lists=("roles",))),), reroutes=True)
    view = gateway(gateway_port(port, (virtual_host(rules, domains=("*",), port=80, name="*:80"),), access=access))
    async with running_view(view, tmp_path) as (envoy, _):
        yield Place(port, envoy)


EXACT, PREFIX = TextMatch("exact", "staff"), TextMatch("prefix", "st")
REGEX, PRESENT = TextMatch("regex", "s.*f"), TextMatch("present")


@pytest.mark.parametrize("match", [EXACT, PREFIX, REGEX, PRESENT])
@pytest.mark.parametrize("path", [("team",), ("a", "b.c")])
async def test_routes_by_claims(path: tuple[str, ...], match: TextMatch, tmp_path: Path) -> None:
    def claims(value: object) -> dict[str, Any]:
        for part_ in reversed(path):
            value = {part_: value}
        assert isinstance(value, dict)
        return value

    async with routed(tmp_path, by_claim(path, match, 299), by_claim(path, match, 298, invert=True)) as here:
        assert (await here.bearer(GOOD.token(**claims("staff")))).status == 299
        if match is not PRESENT:
            assert (await here.bearer(GOOD.token(**claims(["x", "staff"])))).status == 299
            assert (await here.bearer(GOOD.token(**claims("guest")))).status == 298
        assert (await here.bearer(GOOD.token())).status == 298
        assert (await here.ask()).status == 298
        assert (await here.bearer(STRANGER.token(**claims("staff")))).status == 401
        for lie in (f"@request.auth.claims.{path[0]}: staff", f"x-jwt-claim.{path[0]}: staff"):
            assert (await here.ask(lie)).status in (298, 400)


async def test_where_only_a_claim_leads_anywhere_tokens_are_checked_all_the_same(tmp_path: Path) -> None:
    """Envoy takes the filters of the first route that it finds; without any there would be no check."""
    async with routed(tmp_path, by_claim(("team",), EXACT, 299)) as here:
        assert (await here.bearer(GOOD.token(team="staff"))).status == 299
        assert (await here.bearer(GOOD.token())).status == 404
        assert (await here.ask()).status == 404
        assert (await here.bearer(WRONG["expired"])).status == 401


async def test_a_route_by_claims_has_its_own_fault_and_the_others_have_theirs(tmp_path: Path) -> None:
    """A filter that the first route does not enable is not in the chain, whatever the second says."""
    staff = replace(by_claim(("team",), EXACT, 299), fault=Fault(abort_http=418))
    async with routed(tmp_path, staff, rule(Respond(298))) as here:
        assert (await here.bearer(GOOD.token(team="staff"))).status == 418
        assert (await here.ask()).status == 298
