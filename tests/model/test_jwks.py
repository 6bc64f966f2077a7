"""Key sets from outside: what may be used is given on in one form, what would weaken a check is not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from support.tokens import jwk, key_set, new_key, rsa_key
from weft.model.jwks import MAX_KEYS, KeySetError, read_key_set

GOOD = jwk(new_key(), "good")


def encoded(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_of_each_kind_is_read_and_only_its_public_members_go_on(algorithm: str) -> None:
    key = rsa_key() if algorithm in ("RS256", "PS512") else new_key(algorithm)
    given_key = jwk(key, "k1", alg=algorithm, use="sig", d="private", x5c=["x"], key_ops=["verify"], extra={"a": 1})
    read = read_key_set(key_set(given_key))
    (found,) = json.loads(read.text)["keys"]
    assert read.left_out == ()
    assert found.keys() <= {"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}
    for name in ("kty", "kid", "alg", "n", "crv", "x", "y"):
        assert found.get(name) == given_key.get(name), name


def test_the_text_does_not_depend_on_order_or_spelling() -> None:
    other = jwk(rsa_key(), "other")
    padded = {**GOOD, "x": GOOD["x"] + "="}
    texts = {read_key_set(key_set(*keys)).text for keys in ((GOOD, other), (other, padded), (other, GOOD, GOOD))}
    assert len(texts) == 1


def weak_rsa(bits: int) -> dict[str, Any]:
    return jwk(rsa.generate_private_key(65537, bits), "weak")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, "shared secret"),
        (weak_rsa(1024), "1024 bits"),
        ({"kty": "RSA", "n": encoded((1 << 9000) + 1), "e": "AQAB"}, "9001 bits"),
        ({**jwk(rsa_key()), "e": "AQ"}, "exponent"),
        ({**jwk(rsa_key()), "e": "Ag"}, "exponent"),
        ({**jwk(rsa_key()), "alg": "HS256"}, "'alg'"),
        ({**jwk(rsa_key()), "alg": "none"}, "'alg'"),
        ({**jwk(rsa_key()), "n": None}, "'n' is missing"),
        ({**jwk(rsa_key()), "n": "!" * 300}, "no base64url"),
        ({**GOOD, "alg": "ES384"}, "'alg' is not ES256"),
        ({**GOOD, "alg": 5}, "no text"),
        ({**GOOD, "y": GOOD["x"]}, "point is not on P-256"),
        ({**GOOD, "crv": "P-192"}, "'crv'"),
        ({**GOOD, "crv": []}, "'crv'"),
        ({**GOOD, "kid": "a\x1b[2J"}, "'kid'"),
        ({**GOOD, "kid": "x" * 300}, "'kid'"),
        ({**GOOD, "use": "tls"}, "'use'"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "Ed25519"),
        ({"kty": "OKP", "crv": "X25519", "x": "AAAA"}, "Ed25519"),
        ({"kty": "EC"}, "'crv'"),
        ({"kty": "lattice"}, "'kty'"),
        ({}, "'kty'"),
        ("text", "no JSON object"),
        (None, "no JSON object"),
    ],
)
def test_what_would_weaken_a_check_is_left_out(key: Any, reason: str) -> None:
    with pytest.raises(KeySetError) as error:
        read_key_set(key_set(key))
    assert reason in str(error.value)
    read = read_key_set(key_set(key, GOOD))
    assert [one["kid"] for one in json.loads(read.text)["keys"]] == ["good"]
    assert len(read.left_out) == 1
    assert reason in read.left_out[0]
    assert read.left_out[0].isprintable()


def test_keys_for_encryption_are_no_mistake() -> None:
    assert read_key_set(key_set({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP"}, GOOD)).left_out == ()
    with pytest.raises(KeySetError, match="no key that signs"):
        read_key_set(key_set({"kty": "RSA", "use": "enc"}))


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", "{}", '{"keys": {}}', '{"keys": []}', '{"keys": null}', "[" * 100_000, '{"keys": [' + "[" * 5000,
     "<html>404</html>", '{"keys": [' + ",".join(["{}"] * (MAX_KEYS + 1)) + "]}", " " * 300_000 + "{}"],
)  # fmt: skip
def test_what_is_no_key_set(text: str) -> None:
    with pytest.raises(KeySetError):
        read_key_set(text)


@given(st.text(max_size=200) | st.from_regex(r'\{"keys": ?\[.{0,80}\]\}', fullmatch=True))
def test_no_text_makes_another_error(text: str) -> None:
    try:
        read_key_set(text)
    except KeySetError:
        return


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, 0, -1, 1.5, "", "RSA", "EC", "P-256", "AQAB", "\0", "é", [], ["AQAB"], {}, {"a": {}})
)


@given(st.dictionaries(st.sampled_from([*sorted(GOOD), "alg", "use", "n", "e"]), VALUES))
def test_no_key_makes_another_error(changes: dict[str, Any]) -> None:
    try:
        read = read_key_set(key_set({**GOOD, **changes}))
    except KeySetError as error:
        assert str(error).isprintable()
        return
    for key in json.loads(read.text)["keys"]:
        assert key["kty"] in ("RSA", "EC", "OKP")
