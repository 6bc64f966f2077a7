"""Tokens of Pods by values: what a token says of itself, and which answers of an API server are a yes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from weft.model.base64url import encode_bytes
from weft.sources.kubernetes.pod_tokens import BoundPod, PodTokenError, claim_from, is_pod_token, reviewed_pod

NOW = 1_000_000.0
POD = BoundPod("shop", "web", "web-0", "5f0d3a")
HEAD = {"alg": "RS256", "kid": "1"}
BODY: dict[str, Any] = {
    "aud": ["weft"],
    "exp": NOW + 60,
    "iat": NOW - 60,
    "kubernetes.io": {
        "namespace": "shop",
        "pod": {"name": "web-0", "uid": "5f0d3a"},
        "serviceaccount": {"name": "web", "uid": "1"},
    },
}
STATUS: dict[str, Any] = {
    "authenticated": True,
    "audiences": ["weft"],
    "user": {
        "username": "system:serviceaccount:shop:web",
        "extra": {
            "authentication.kubernetes.io/pod-name": ["web-0"],
            "authentication.kubernetes.io/pod-uid": ["5f0d3a"],
        },
    },
}

TWICE = {name: value * 2 for name, value in STATUS["user"]["extra"].items()}


def token_of(head: object = HEAD, body: object = BODY, signature: str = "AAAA") -> str:
    return ".".join((encode_bytes(msgspec.json.encode(head)), encode_bytes(msgspec.json.encode(body)), signature))


def answer_of(status: object) -> bytes:
    return msgspec.json.encode({"kind": "TokenReview", "status": status})


def test_what_a_token_says_of_itself() -> None:
    claim = claim_from(token_of(), NOW)
    assert (claim.pod, claim.issued) == (POD, NOW - 60)
    assert claim_from(token_of(body=BODY | {"aud": "weft"}), NOW).pod == POD
    assert is_pod_token(token_of())
    assert not is_pod_token("weft-abc_DEF-1")


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token-refused"),
        ("..", "token-refused"),
        (token_of() + ".x", "token-refused"),
        (token_of() + "A" * 4096, "token-refused"),
        ("é" + token_of(), "token-refused"),
        (token_of(signature=""), "token-refused"),
        (token_of({"alg": "none"}), "token-refused"),
        (token_of({"alg": "HS256"}), "token-refused"),
        (token_of({}), "token-refused"),
        (token_of([]), "token-refused"),
        (token_of(body=[[[[]]]]), "token-refused"),
        (token_of(body=BODY | {"aud": ["api"]}), "token-refused"),
        (token_of(body=BODY | {"aud": []}), "token-refused"),
        (token_of(body=BODY | {"exp": NOW}), "token-refused"),
        (token_of(body=BODY | {"exp": "later"}), "token-refused"),
        (token_of(body=BODY | {"kubernetes.io": {}}), "token-unbound"),
        (token_of(body=BODY | {"kubernetes.io": BODY["kubernetes.io"] | {"pod": None}}), "token-unbound"),
        (token_of(body=BODY | {"kubernetes.io": BODY["kubernetes.io"] | {"namespace": "a/b"}}), "token-unbound"),
    ],
)
def test_a_token_that_nobody_is_asked_about(token: str, code: str) -> None:
    with pytest.raises(PodTokenError) as caught:
        claim_from(token, NOW)
    assert caught.value.code == code


def test_an_answer_that_vouches_for_a_pod() -> None:
    assert reviewed_pod(answer_of(STATUS)) == POD


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({}, "token-refused"),
        (STATUS | {"authenticated": False}, "token-refused"),
        (STATUS | {"audiences": []}, "token-refused"),
        (STATUS | {"audiences": ["api"]}, "token-refused"),
        (STATUS | {"user": STATUS["user"] | {"username": "shop:web"}}, "token-refused"),
        (STATUS | {"user": STATUS["user"] | {"username": "system:serviceaccount:shop"}}, "token-unbound"),
        (STATUS | {"user": STATUS["user"] | {"username": "system:serviceaccount:shop:web:x"}}, "token-unbound"),
        (STATUS | {"user": {"username": STATUS["user"]["username"]}}, "token-unbound"),
        (STATUS | {"user": STATUS["user"] | {"extra": TWICE}}, "token-unbound"),
    ],
)
def test_an_answer_that_vouches_for_none(status: object, code: str) -> None:
    with pytest.raises(PodTokenError) as caught:
        reviewed_pod(answer_of(status))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"status": {"authenticated": "yes"}}', b'{"status": {"error": "\xff"}}']
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        reviewed_pod(body)
