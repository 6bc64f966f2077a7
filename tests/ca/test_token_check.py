"""Tokens that are accepted, and the many that are not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.ca.certificates import key_pem
from weft.ca.token_check import TokenError, UnknownKeyError, check_token
from weft.ca.token_keys import TokenKeys
from weft.model.bundles import TokenKey, public_jwk, token_key_from_jwk
from weft.model.identity import SpiffeId

NOW = 1_800_000_000.0
ID = "spiffe://a.test/ns/default/sa/reviews"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
CLAIMS = {"sub": ID, "aud": ["here"], "exp": NOW + 60}


def public(key: Any, kid: str) -> TokenKey:
    return token_key_from_jwk({"kid": kid, **public_jwk(key.public_key())})


KEYS = {"a.test": (public(KEY, "one"),), "b.test": (public(OTHER, "one"), public(RSA, "rsa"))}


def token(claims: dict[str, Any] = CLAIMS, *, key: Any = KEY, kid: Any = "one", alg: str = "ES256", **head: Any) -> str:
    return jwt.encode(claims, key, algorithm=alg, headers={"kid": kid, **head})


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_what_is_accepted(tmp_path: Path) -> None:
    proven = check_token(token(), "here", KEYS, NOW)
    assert (proven.subject, proven.claims["aud"]) == (ID, ["here"])
    assert check_token(token({**CLAIMS, "aud": "here"}), "here", KEYS, NOW)
    assert check_token(token(typ="JOSE"), "here", KEYS, NOW)
    foreign = {**CLAIMS, "sub": "spiffe://b.test/billing"}
    assert check_token(token(foreign, key=RSA, kid="rsa", alg="RS256"), "here", KEYS, NOW).subject.endswith("billing")
    keys = TokenKeys(tmp_path, "a.test", lambda: NOW)
    own = keys.sign(SpiffeId("a.test", "default", "reviews"), ("here",)).token
    assert check_token(own, "here", {"a.test": keys.published()}, NOW).subject == ID


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "no JWT"),
        ("a.b", "no JWT"),
        ("x" * 17000, "longer"),
        (token({**CLAIMS, "aud": ["there"]}), "another audience"),
        (token({key: value for key, value in CLAIMS.items() if key != "aud"}), "not valid"),
        (token({**CLAIMS, "aud": []}), "not valid"),
        (token({**CLAIMS, "exp": NOW - 11}), "expired"),
        (token({key: value for key, value in CLAIMS.items() if key != "exp"}), "not valid"),
        (token({**CLAIMS, "exp": True}), "no time"),
        (token({**CLAIMS, "exp": "soon"}), "no time"),
        (token({**CLAIMS, "exp": 1e30}), "no time"),
        (token({**CLAIMS, "nbf": NOW + 100}), "not valid yet"),
        (token({**CLAIMS, "iat": NOW + 100}), "not valid yet"),
        (token({**CLAIMS, "sub": "reviews"}), "no SPIFFE ID"),
        (token({**CLAIMS, "sub": "spiffe://a.test"}), "no SPIFFE ID"),
        (token({**CLAIMS, "sub": "spiffe://a.test/ns/../sa"}), "no SPIFFE ID"),
        (token({**CLAIMS, "sub": "spiffe://A.test/x"}), "no SPIFFE ID"),
        (token({**CLAIMS, "sub": "spiffe://c.test/x"}), "not trusted"),
        # domain A's key vouches for nobody of domain B, though both have a key of that name
        (token({**CLAIMS, "sub": "spiffe://b.test/x"}), "signature"),
        (token(key=OTHER), "signature"),
        (token(kid="two"), "no key"),
        (raw({"alg": "ES256", "kid": 1}, CLAIMS), "no JWT"),
        (raw({"alg": "ES256"}, CLAIMS), "no key"),
        (token(typ="at+jwt"), "'typ'"),
        (token(crit=["exp"]), "no JWT|not valid"),
        (raw({"alg": "none", "kid": "one"}, CLAIMS), "not valid"),
        (raw({"alg": "ES256", "kid": "one"}, CLAIMS), "not valid|signature"),
        # the public key as the secret of a symmetric algorithm
        (token(key=key_pem(OTHER)[30:100], alg="HS256"), "not valid"),
        (token({**CLAIMS, "sub": "spiffe://b.test/x"}, key=RSA, kid="one", alg="RS256"), "not valid"),
        (token({**CLAIMS, "sub": "spiffe://b.test/x"}, key=RSA, kid="rsa", alg="PS256"), "not valid"),
    ],
)
def test_what_is_not(given: str, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        check_token(given, "here", KEYS, NOW)


def test_a_key_that_is_not_known_may_be_new() -> None:
    with pytest.raises(UnknownKeyError):
        check_token(token(kid="two"), "here", KEYS, NOW)
