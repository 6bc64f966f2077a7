"""Trust bundles from outside: what is taken, and what is refused by name."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from weft.ca.authority import open_authority
from weft.ca.certificates import LeafParameters, Subject, Validity, build_leaf, build_root, certificate_pem, new_key
from weft.model.bundles import (
    MAX_BUNDLE_BYTES,
    BundleError,
    bundle_from_json,
    bundle_to_json,
    key_set,
    keys_from_set,
    public_jwk,
    token_key_from_jwk,
)
from weft.model.identity import SpiffeId

TOKEN = {"use": "jwt-svid", "kid": "a", **public_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())}
WEAK = {"use": "jwt-svid", "kid": "a", **public_jwk(rsa.generate_private_key(65537, 1024).public_key())}


def der(pem: str) -> str:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def test_what_others_publish_is_read(tmp_path: Path) -> None:
    root = open_authority(tmp_path / "ca", "b.test").bundle
    # SPIRE's form, with a key for a use that is not known here
    text = json.dumps(
        {
            "keys": [{"use": "x509-svid", "kty": "EC", "x5c": [der(root)]}, TOKEN, {"use": "later", "kty": "?"}],
            "spiffe_sequence": 7,
            "spiffe_refresh_hint": 300,
        }
    )
    bundle = bundle_from_json("b.test", text)
    assert (bundle.roots, bundle.sequence, bundle.refresh_hint) == ((root,), 7, 300.0)
    assert [(key.kid, key.algorithm) for key in bundle.token_keys] == [("a", "ES384")]
    assert bundle_from_json("b.test", bundle_to_json(bundle)) == bundle
    assert keys_from_set(key_set(bundle.token_keys)) == bundle.token_keys


def leaf() -> str:
    validity = Validity(1_700_000_000, 1_900_000_000)
    signer = build_root("b.test", validity)
    parameters = LeafParameters(SpiffeId("b.test", "a", "b"), Subject(""), new_key().public_key(), validity)
    return certificate_pem(build_leaf(signer, parameters))


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([{"use": "x509-svid"}], "exactly one certificate"),
        ([{"use": "x509-svid", "x5c": []}], "exactly one certificate"),
        ([{"use": "x509-svid", "x5c": ["AAAA", "AAAA"]}], "exactly one certificate"),
        ([{"use": "x509-svid", "x5c": ["AAAA"]}], "no certificate of an authority"),
        ([{"use": "x509-svid", "x5c": ["?"]}], "no certificate of an authority"),
        ([{"use": "x509-svid", "x5c": [1]}], "exactly one certificate"),
        ([{**TOKEN, "kid": ""}], "no 'kid'"),
        ([{**TOKEN, "kid": "a\x1b"}], "no 'kid'"),
        ([{**TOKEN, "kty": "oct", "k": "AAAA"}], "expected a key"),
        ([{**TOKEN, "crv": "secp256k1"}], "expected a key"),
        ([{**TOKEN, "crv": ["P-256"]}], "expected a key"),
        ([{**TOKEN, "x": TOKEN["y"]}], "no point"),
        ([{**TOKEN, "x": "*"}], "no base64url"),
        ([{**TOKEN, "x": 1}], "'x' is missing"),
        ([TOKEN, {**TOKEN, **public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())}], "another key"),
        ([WEAK], "2048 bits"),
        ([TOKEN] * 65, "65 keys"),
        ({}, "no list 'keys'"),
    ],
)
def test_what_is_no_bundle(keys: Any, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        bundle_from_json("b.test", json.dumps({"keys": keys}))


def test_a_leaf_is_no_root() -> None:
    with pytest.raises(BundleError, match="no certificate of an authority"):
        bundle_from_json("b.test", json.dumps({"keys": [{"use": "x509-svid", "x5c": [der(leaf())]}]}))


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, "{", " " * (MAX_BUNDLE_BYTES + 1)])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(BundleError):
        bundle_from_json("b.test", text)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)), max_leaves=8)  # fmt: skip


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("kid", "kty", "crv", "x", "y", "n", "e", "x5c"), JSON)))
def test_no_key_is_a_crash(members: dict[str, Any]) -> None:
    for use in ("x509-svid", "jwt-svid"):
        for extra in ({}, {"kty": "EC", "crv": "P-256", "kid": "a"}, {"kty": "RSA", "kid": "a"}):
            with pytest.raises(BundleError):
                bundle_from_json("b.test", json.dumps({"keys": [{**members, **extra, "use": use}]}))


def test_private_members_are_not_kept() -> None:
    assert '"d"' not in token_key_from_jwk({**TOKEN, "d": "secret"}).jwk
