"""What a join token demands: proven and not proven, with keys and clouds that are made up here."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from weft.agent.certificates import CertificateFiles
from weft.agent.errors import AgentError
from weft.agent.keys import make_key
from weft.agent.parameters import JoinProofs
from weft.agent.proofs import make_proof
from weft.ca.attestation import Applicant, AttestationError, Demands, check_demands, key_fingerprint, verify
from weft.ca.authority import open_authority
from weft.ca.nonces import Nonces
from weft.model.enrolment import Proof, proof_message
from weft.model.identity import SpiffeId

NOW = 1_800_000_000.0
CART = SpiffeId("cluster.local", "shop", "cart")
CSR = "the request"
APPLICANT = Applicant("10.1.2.3", CART, "cart-1.shop", proof_message("n", CSR), "")
CLOUD_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
AWS = {"accountId": "123456789012", "region": "eu-west-1", "instanceId": "i-1", "pendingTime": "2026-11-26T00:00:00Z"}


def public_pem(key: Any) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(encoding, form).decode())


def private_file(key: Any, directory: Path) -> str:
    path = directory / "join.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form))
    path.chmod(0o600)
    return str(path)


def refused(demands: Demands, proof: Proof, applicant: Applicant = APPLICANT, now: float = NOW) -> str:
    """The code and the words of the refusal."""
    with pytest.raises(AttestationError) as caught:
        verify(demands, proof, applicant, now)
    return f"{caught.value.code}: {caught.value}"


@pytest.mark.parametrize(("address", "good"), [("10.1.2.3", True), ("10.2.0.1", False), ("fd00::7", True), ("", False)])
def test_a_token_may_work_from_some_networks_only(address: str, good: bool) -> None:
    demands = Demands(networks=("10.1.0.0/16", "fd00::/8"))
    if good:
        verify(demands, Proof(""), replace(APPLICANT, address=address), NOW)
    else:
        assert "proof-wrong" in refused(demands, Proof(""), replace(APPLICANT, address=address))


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), OTHER_KEY, ed25519.Ed25519PrivateKey.generate()]
)
def test_the_holder_of_a_key_signs_the_nonce_and_the_request(key: Any, tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    demands = Demands(key=key_fingerprint(key.public_key()))
    proof = make_proof("n", CSR, JoinProofs(key=private_file(key, tmp_path)), files)
    verify(demands, proof, APPLICANT, NOW)
    assert "proof-missing" in refused(demands, Proof("n"))
    for message in (proof_message("m", CSR), proof_message("n", "another request")):
        assert "of another nonce" in refused(demands, proof, replace(APPLICANT, message=message))
    stranger = public_pem(ec.generate_private_key(ec.SECP256R1()))
    assert "the key that was shown is" in refused(demands, replace(proof, key=stranger))
    for bad in (replace(proof, signature="%%"), replace(proof, key="x"), replace(proof, signature="aGVsbG8=")):
        assert "proof-wrong" in refused(demands, bad)


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = private_file(OTHER_KEY, tmp_path)
    Path(path).chmod(0o644)
    with pytest.raises(AgentError, match="cannot use --join-proof"):
        make_proof("n", CSR, JoinProofs(key=path), CertificateFiles(tmp_path))


def test_a_previous_certificate_of_the_same_workload_is_proven_by_its_key(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", clock=lambda: NOW)
    files, made = CertificateFiles(tmp_path / "workload"), make_key()
    (tmp_path / "workload").mkdir(mode=0o700)
    files.prepare()
    files.install(made.key, authority.issue(made.csr, CART, "cart-1.shop"))
    applicant, demands = replace(APPLICANT, bundle=authority.bundle), Demands(certificate=True)
    proof = make_proof("n", CSR, JoinProofs(), files)
    verify(demands, proof, applicant, NOW + 7 * 86400.0)
    assert "proof-missing" in refused(demands, Proof("n"), applicant)
    assert "is not one of cart-2.shop" in refused(demands, proof, replace(applicant, proxy="cart-2.shop"))
    other = replace(applicant, identity=SpiffeId("cluster.local", "shop", "till"))
    assert "is not one of" in refused(demands, proof, other)
    assert "does not have its key" in refused(demands, proof, replace(applicant, message=b"x"))
    elsewhere = open_authority(tmp_path / "other", clock=lambda: NOW)
    assert "is not of this mesh" in refused(demands, proof, replace(applicant, bundle=elsewhere.bundle))
    assert "cannot be read" in refused(demands, replace(proof, chain="x"), applicant)


def test_a_leaf_of_the_mesh_does_not_vouch_for_another(tmp_path: Path) -> None:
    """The issuer of a previous certificate is an authority, not whoever has a certificate."""
    authority, made, forged = open_authority(tmp_path / "ca"), make_key(), make_key()
    honest = authority.issue(made.csr, CART, "cart-1.shop").chain
    other = open_authority(tmp_path / "other").issue(forged.csr, CART, "cart-1.shop").chain
    key = serialization.load_pem_private_key(forged.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = base64.b64encode(key.sign(APPLICANT.message, ec.ECDSA(hashes.SHA256()))).decode()
    leaf = other.partition("-----END CERTIFICATE-----\n")
    proof = Proof("n", chain=leaf[0] + leaf[1] + honest, chain_signature=signature)
    assert "is not of this mesh" in refused(
        Demands(certificate=True), proof, replace(APPLICANT, bundle=authority.bundle)
    )


def aws(document: Mapping[str, object], key: rsa.RSAPrivateKey = CLOUD_KEY) -> Proof:
    text = json.dumps(document)
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return Proof("n", document=text, document_signature=base64.encodebytes(signature).decode())


def test_an_instance_of_aws_shows_its_signed_document() -> None:
    demands = Demands(
        cloud="aws", keys=public_pem(CLOUD_KEY), claims=(("account", "123456789012"), ("region", "eu-west-1"))
    )
    verify(demands, aws(AWS), APPLICANT, NOW)
    assert "does not say account" in refused(demands, aws({**AWS, "accountId": "999"}))
    assert "does not say region" in refused(demands, aws({**AWS, "region": None}))
    assert "is not signed by any" in refused(demands, aws(AWS, OTHER_KEY))
    changed = replace(aws(AWS), document=json.dumps({**AWS, "instanceId": "i-2"}))
    assert "is not signed by any" in refused(demands, changed)
    assert "proof-missing" in refused(demands, Proof("n"))
    assert "too large" in refused(demands, Proof("n", document="x" * 20_000))


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def token(claims: Mapping[str, object], key: rsa.RSAPrivateKey = CLOUD_KEY, **header: str) -> Proof:
    head = encoded(json.dumps({"alg": "RS256", "kid": "k1", **header}).encode())
    text = f"{head}.{encoded(json.dumps(claims).encode())}"
    return Proof("n", document=f"{text}.{encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}")


def key_set(*keys: rsa.RSAPrivateKey) -> str:
    numbers = [key.public_key().public_numbers() for key in keys]
    rows = [
        {"kty": "RSA", "kid": f"k{index}", "e": "AQAB", "n": encoded(one.n.to_bytes(256))}
        for index, one in enumerate(numbers, 1)
    ]
    return json.dumps({"keys": rows})


GCP = {
    "aud": "weft://cluster.local",
    "exp": NOW + 3600,
    "iat": NOW,
    "google": {"compute_engine": {"project_id": "shop-prod", "instance_id": 77}},
}


def test_an_instance_of_google_shows_its_token() -> None:
    demands = Demands(
        cloud="gcp", keys=key_set(CLOUD_KEY, OTHER_KEY), claims=(("project", "shop-prod"), ("instance", "77"))
    )
    verify(demands, token(GCP), APPLICANT, NOW)
    verify(demands, token(GCP, OTHER_KEY, kid="k2"), APPLICANT, NOW)
    for wrong, words in (
        (token(GCP, OTHER_KEY), "not signed"),
        (token(GCP, alg="none"), "not signed by RS256"),
        (token(GCP, alg="HS256"), "not signed by RS256"),
        (token({**GCP, "exp": NOW - 61}), "has expired"),
        (token({**GCP, "exp": None}), "has expired"),
        (token({**GCP, "iat": NOW + 3600}), "not valid yet"),
        (token({**GCP, "aud": "https://other"}), "is not for weft://cluster.local"),
        (token({**GCP, "google": {"compute_engine": {"project_id": "other"}}}), "does not say project"),
        (token({**GCP, "google": "shop-prod"}), "does not say project"),
        (Proof("n", document="a.b.c"), "cannot be read"),
        (Proof("n", document="[" * 9000), "cannot be read"),
        (Proof("n", document=encoded(b"[]") + ".x.y"), "cannot be read"),
    ):
        assert words in refused(demands, wrong), wrong


def test_a_managed_identity_of_azure_is_for_the_audience_that_was_asked_for() -> None:
    claims = {
        "aud": ["api://weft"],
        "exp": NOW + 60,
        "nbf": NOW,
        "tid": "tenant-1",
        "xms_mirid": "/subscriptions/s/vm1",
    }
    demands = Demands(cloud="azure", keys=key_set(CLOUD_KEY), claims=(("tenant", "tenant-1"), ("aud", "api://weft")))
    verify(demands, token(claims), APPLICANT, NOW)
    assert "is not for api://weft" in refused(demands, token({**claims, "aud": "api://other"}))


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        (Demands(networks=("10.0.0.0/33",)), "10.0.0.0/33"),
        (Demands(key="abc"), "expected sha256:"),
        (Demands(claims=(("account", "1"),)), "go with a cloud"),
        (Demands(cloud="ibm", keys="x", claims=(("a", "b"),)), "expected one of aws"),
        (Demands(cloud="aws", keys=public_pem(CLOUD_KEY)), "would let in every instance"),
        (Demands(cloud="aws", keys="nothing", claims=(("account", "1"),)), "no RSA public key"),
    ],
)
def test_what_cannot_be_demanded_is_said(demands: Demands, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_demands(demands)


def test_a_nonce_is_good_for_a_minute_at_the_process_that_made_it() -> None:
    now = [NOW]
    nonces, others = Nonces(lambda: now[0]), Nonces(lambda: now[0])
    nonce = nonces.make()
    assert nonces.is_good(nonce)
    assert not others.is_good(nonce)
    for bad in ("", "x", nonce[:-1], nonce + "x", nonce.replace(".", ",", 1), f"9{nonce}", "\udc80.a.b"):
        assert not nonces.is_good(bad)
    now[0] += 62
    assert not nonces.is_good(nonce)
