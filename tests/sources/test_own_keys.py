"""The mesh's own token keys as a source, and what a RequestAuthentication that names its trust domain has of them."""

from __future__ import annotations

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.meshdocs import documents
from weft.mesh.access.tokens import TokenPolicy
from weft.mesh.access.wanted import wanted_keys
from weft.mesh.memo import Memo
from weft.mesh.policies.requestauthentication import attach_tokens, keys_of, token_documents
from weft.model.bundles import key_set, public_jwk, token_key_from_jwk
from weft.model.jwks import KeySet
from weft.schema.decode import decode_documents
from weft.sources.own_keys import OwnKeysSource

RULE = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: a}
spec: {jwtRules: [{issuer: "ISSUER"}]}
"""


def published(*kids: str) -> str:
    keys = (ec.generate_private_key(ec.SECP256R1()).public_key() for _ in kids)
    return key_set([token_key_from_jwk({"kid": kid, **public_jwk(key)}) for kid, key in zip(kids, keys, strict=True)])


async def test_the_keys_are_told_again_when_they_are_others() -> None:
    told: list[tuple[KeySet, ...]] = []
    texts, looks = [published("a"), published("a", "b")], 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 4:
            raise asyncio.CancelledError
        assert source.contents.value is not None
        told.append(source.contents.value.keys)

    source = OwnKeysSource("a.example", lambda: texts[looks // 2 % 2], sleep)
    with pytest.raises(asyncio.CancelledError):
        await source.run()
    assert [len(json.loads(one[0].text)["keys"]) for one in told] == [1, 1, 2, 2]
    assert told[0] is told[1]
    assert {one[0].uri for one in told} == {"spiffe://a.example"}


def checked_with(issuer: str, trust_domain: str = "a.example") -> tuple[str, list[str]]:
    """The keys of the rule, and the codes of what is wrong."""
    [document] = token_documents(documents(RULE.replace("ISSUER", issuer)))
    assert wanted_keys([document]) == (), "nobody is asked for them"
    keys = keys_of(Memo(), document, {"spiffe://a.example": "the keys"})
    found = attach_tokens(document, "istio-system", keys, (None,), trust_domain)
    policy = found.attachments[0].policy
    assert isinstance(policy, TokenPolicy)
    return policy.rules[0].keys, [one.code for one in found.problems]


def test_tokens_of_the_mesh_are_checked_with_its_own_keys() -> None:
    assert checked_with("spiffe://a.example") == ("the keys", [])


def test_those_of_another_trust_domain_need_an_address() -> None:
    assert checked_with("spiffe://b.example") == ("", ["keys-unreachable"])
    assert checked_with("spiffe://a.example", "b.example") == ("", ["keys-unreachable"])


@pytest.mark.parametrize("issuer", ["spiffe://", "spiffe://a.example/ns/x", "spiffe://A.example", "spiff://a.example"])
def test_an_issuer_of_another_form_needs_keys(issuer: str) -> None:
    decoded = decode_documents(RULE.replace("ISSUER", issuer), "a.yaml")
    assert [one.code for one in decoded.problems] == ["missing-field"]
