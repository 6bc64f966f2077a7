"""Certificates and keys of servers: which fit together, and what is told of those that do not."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from support.certificates import TestAuthority
from support.spire import certify, name_of
from weft.model.key_pairs import pair_fault
from weft.schema.decode import decode_documents

ONE, OTHER = TestAuthority().issue(dns=("a",)), TestAuthority().issue(dns=("a",))


def pem(key: Any, password: bytes = b"") -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


def chain(key: object, signer: object = None) -> bytes:
    made = certify(name_of("a"), key, name_of("a"), signer or key, dns=("a",))
    return made.public_bytes(serialization.Encoding.PEM)


SMALL, ED = rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()
ODD = ec.generate_private_key(ec.SECP256K1())
FAULTS = {
    "another key": (ONE.chain, OTHER.key, "tls.key", "does not belong to the first certificate"),
    "the wrong order": (OTHER.chain + ONE.chain, ONE.key, "tls.key", "does not belong"),
    "a key for a chain": (ONE.key, ONE.key, "tls.crt", "cannot be read"),
    "a chain for a key": (ONE.chain, ONE.chain, "tls.key", "cannot be read"),
    "half a chain": (ONE.chain[:-60], ONE.key, "tls.crt", "cannot be read"),
    "a password": (ONE.chain, pem(ec.generate_private_key(ec.SECP256R1()), b"x"), "tls.key", "with a password"),
    "a small key": (chain(SMALL, rsa.generate_private_key(65537, 2048)), pem(SMALL), "tls.key", "1024 bits"),
    "another curve": (chain(ODD), pem(ODD), "tls.key", "of a kind"),
    "Ed25519": (chain(ED, ec.generate_private_key(ec.SECP256R1())), pem(ED), "tls.key", "of a kind"),
}


def test_what_fits() -> None:
    assert pair_fault(ONE.chain + OTHER.chain, ONE.key) is None
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        assert pair_fault(chain(key), pem(key)) is None


@pytest.mark.parametrize("what", sorted(FAULTS))
def test_what_does_not(what: str) -> None:
    certificates, key, field, told = FAULTS[what]
    fault = pair_fault(certificates, key)
    assert fault is not None
    assert (fault[0], told in fault[1]) == (field, True), fault


def secret(key: bytes, kind: str = "kubernetes.io/tls") -> str:
    def indented(text: bytes) -> str:
        return "".join(f"    {line}\n" for line in text.decode().splitlines())

    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ntype: {kind}\nstringData:\n"
        f"  tls.crt: |\n{indented(ONE.chain)}  tls.key: |\n{indented(key)}"
    )


def test_a_secret_whose_key_is_anothers_is_refused_at_its_line() -> None:
    assert not decode_documents(secret(ONE.key), "s.yaml").failed
    decoded = decode_documents(secret(OTHER.key), "s.yaml")
    [problem] = decoded.problems
    assert decoded.failed
    assert problem.code == "bad-certificate"
    line = secret(OTHER.key).splitlines().index("  tls.key: |") + 1
    assert (problem.origin.line, "does not belong" in problem.message) == (line, True)
    assert OTHER.key.decode().splitlines()[1] not in str(problem)
    assert not decode_documents(secret(OTHER.key, "Opaque"), "s.yaml").failed
