"""Messages of the Workload API, compared with the classes that applications' clients use."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from spiffe._proto import workload_pb2 as theirs

from weft.agent.workload_api import messages


def test_answers_are_what_clients_read() -> None:
    svid = theirs.X509SVIDResponse.FromString(
        messages.x509_svid_response("spiffe://a/b", b"chain", b"key", b"own", {"spiffe://b": b"roots"})
    )
    (one,) = svid.svids
    found = (one.spiffe_id, one.x509_svid, one.x509_svid_key, one.bundle, dict(svid.federated_bundles))
    assert found == ("spiffe://a/b", b"chain", b"key", b"own", {"spiffe://b": b"roots"})
    bundles = {"spiffe://a": b"1", "spiffe://b": b"2"}
    assert theirs.X509BundlesResponse.FromString(messages.x509_bundles_response(bundles)).bundles == bundles
    assert theirs.JWTBundlesResponse.FromString(messages.jwt_bundles_response(bundles)).bundles == bundles
    token = theirs.JWTSVIDResponse.FromString(messages.jwt_svid_response("spiffe://a/b", "x.y.z"))
    assert (token.svids[0].spiffe_id, token.svids[0].svid) == ("spiffe://a/b", "x.y.z")


def test_requests_are_read() -> None:
    wish = theirs.JWTSVIDRequest(audience=["a", "b"], spiffe_id="spiffe://a/b").SerializeToString()
    assert messages.token_wish(wish) == messages.TokenWish(("a", "b"), "spiffe://a/b")
    assert messages.token_wish(b"") == messages.TokenWish((), "")
    proof = theirs.ValidateJWTSVIDRequest(audience="a", svid="x.y.z").SerializeToString()
    assert messages.token_proof(proof) == messages.TokenProof("a", "x.y.z")
    # fields that a later version may have
    assert messages.token_proof(proof + b"\x18\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4)).audience == "a"


def test_claims_are_json_values() -> None:
    claims = {"sub": "x", "aud": ["a", 1], "exp": 1.5, "yes": True, "none": None, "deep": {"list": [{"a": []}]}}
    answer = theirs.ValidateJWTSVIDResponse.FromString(
        messages.validate_response("spiffe://a/b", messages.struct_of(claims))
    )
    assert json_format.MessageToDict(answer.claims) == claims
    assert Struct.FromString(messages.struct_of({})) == Struct()
    deep: object = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(messages.MessageError):
        messages.struct_of({"deep": deep})


@given(st.binary(max_size=64))
def test_no_request_is_a_crash(request: bytes) -> None:
    for read in (messages.token_wish, messages.token_proof):
        with contextlib.suppress(messages.MessageError):
            read(request)
