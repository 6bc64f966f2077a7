"""X.509-SVIDs of another authority: whose they are, under which roots, and what makes one refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from support.spire import DER, SpireRoot, certify, name_of
from weft.agent.keys import make_key
from weft.agent.proofs import signature_of
from weft.ca.attestation import AttestationError, verify_svid
from weft.ca.svid import SvidError, certificates_from_der, check_roots, check_svid, pem_of
from weft.model.enrolment import Proof, proof_message
from weft.model.identity import SpiffeId

ROOT, OTHER = SpireRoot(1, "mesh.example"), SpireRoot(2, "mesh.example")
ID = "spiffe://mesh.example/ns/shop/sa/cart"
CART = SpiffeId("mesh.example", "shop", "cart")
KEY = ec.generate_private_key(ec.SECP256R1())
PERSON = name_of("person")
NOW = time.time()


def leaf(**changes: Any) -> x509.Certificate:
    signer = changes.pop("signer", ROOT.below)
    issuer = changes.pop("issuer", ROOT.server.subject)
    return certify(PERSON, KEY, issuer, signer, **{"uris": (ID,), **changes})


def chain(**changes: Any) -> list[x509.Certificate]:
    return [leaf(**changes), ROOT.server]


def test_a_chain_is_read_from_der_and_checked() -> None:
    found = certificates_from_der(ROOT.svid(KEY, ID, 60))
    assert check_svid(found, [OTHER.certificate, ROOT.certificate], "mesh.example", NOW) == CART
    assert check_svid([leaf(signer=ROOT.key, issuer=ROOT.certificate.subject)], [ROOT.certificate], "mesh.example", NOW)


def test_roots_come_in_one_order_without_those_that_are_over() -> None:
    late = certify(PERSON, KEY, PERSON, KEY, authority=True, since=720000.0, life=-360000.0)
    given = [ROOT.certificate, OTHER.certificate, late, ROOT.certificate]
    assert set(check_roots(given, NOW)) == {ROOT.certificate, OTHER.certificate}
    assert check_roots(given, NOW) == check_roots(given[::-1], NOW)
    with pytest.raises(SvidError, match="no root that is valid now"):
        check_roots([late], NOW)
    with pytest.raises(SvidError, match="no authority's"):
        check_roots([ROOT.certificate, leaf()], NOW)


SUBORDINATE = certify(PERSON, KEY, ROOT.server.subject, ROOT.below, authority=True)
LIMITED = certify(
    name_of("l"), KEY, ROOT.certificate.subject, ROOT.key, authority=True, path_length=0
)  # no authority may be below it
REFUSED = {
    "nothing": ([], "0 certificates"),
    "a long chain": ([leaf()] * 9, "9 certificates"),
    "another root": ([*certificates_from_der(OTHER.svid(KEY, ID, 60))], "leads to no root"),
    "no intermediate": ([leaf()], "leads to no root"),
    "the wrong order": ([leaf(), OTHER.server, ROOT.server], "leads to no root"),
    "a leaf that signs": ([leaf(signer=KEY, issuer=PERSON), leaf(), ROOT.server], "leads to no root"),
    "below a path length": (
        [certify(PERSON, KEY, PERSON, KEY, uris=(ID,)), SUBORDINATE, ROOT.server],
        "leads to no root",
    ),
    "expired": (chain(since=720000.0, life=-360000.0), "has expired"),
    "not valid yet": (chain(since=-3600.0, life=7200.0), "not valid yet"),
    "an authority's": ([SUBORDINATE, ROOT.server], "authority's certificate"),
    "two names": (chain(uris=(ID, "spiffe://mesh.example/ns/shop/sa/till")), "expected one name"),
    "no name": (chain(uris=(), dns=("cart",)), "expected one name"),
    "another domain": (chain(uris=("spiffe://other.example/ns/shop/sa/cart",)), "trust domain 'other.example'"),
    "another form": (chain(uris=("spiffe://mesh.example/cart",)), "expected one name"),
    "a trick": (chain(uris=("spiffe://mesh.example/ns/shop/sa/cart/..",)), "expected one name"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(name: str) -> None:
    found, why = REFUSED[name]
    with pytest.raises(SvidError, match=why):
        check_svid(found, [ROOT.certificate], "mesh.example", NOW)


def test_an_intermediate_with_name_constraints_is_not_understood() -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of("constrained"))
        .issuer_name(ROOT.certificate.subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(ROOT.certificate.not_valid_before_utc)
        .not_valid_after(ROOT.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName("x")], None), critical=True)
    )
    middle = builder.sign(ROOT.key, hashes.SHA256())
    below = certify(PERSON, KEY, middle.subject, KEY, uris=(ID,))
    with pytest.raises(SvidError, match="is not known"):
        check_svid([below, middle], [ROOT.certificate], "mesh.example", NOW)


@pytest.mark.parametrize(
    "data", [b"x", b"\x30", b"\x30\x84\0\0\0\1x", b"\x30\x03abc", ROOT.certificate.public_bytes(DER)[:-1]]
)
def test_what_is_no_der_is_refused(data: bytes) -> None:
    with pytest.raises(SvidError):
        certificates_from_der(data)
    with pytest.raises(SvidError, match="more than 2"):
        certificates_from_der(ROOT.certificate.public_bytes(DER) * 3, 2)


def proof(**changes: Any) -> Proof:
    message = proof_message("n", "csr")
    found = {"svid": pem_of(chain()), "svid_signature": signature_of(KEY, message, "")}
    return Proof("n", **{**found, **changes})


def test_an_svid_proves_who_has_its_key() -> None:
    message, roots = proof_message("n", "csr"), pem_of([ROOT.certificate])
    verify_svid(proof(), message, CART, roots, NOW)
    fresh = make_key()
    wrong = {
        "another key": (proof(svid_signature=signature_of(ROOT.key, message, "")), CART, message),
        "another nonce": (proof(), CART, proof_message("m", "csr")),
        "another request": (proof(), CART, proof_message("n", fresh.csr)),
        "another account": (proof(), SpiffeId("mesh.example", "shop", "till"), message),
        "no chain": (proof(svid="x"), CART, message),
        "no signature": (proof(svid_signature=""), CART, message),
        "not base64": (proof(svid_signature="%"), CART, message),
    }
    for what, (one, identity, signed) in wrong.items():
        with pytest.raises(AttestationError) as caught:
            verify_svid(one, signed, identity, roots, NOW)
        assert caught.value.code == "proof-wrong", what
