"""What an agent proves when its join token demands more: a key, a previous certificate, the cloud's document."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from weft.agent.certificates import CertificateFiles
from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import JoinProofs
from weft.model.enrolment import Proof, proof_message
from weft.settings.private import PermissionsError, check_private


def make_proof(nonce: str, csr: str, given: JoinProofs, files: CertificateFiles) -> Proof:
    """Everything that there is. AgentError for a file that cannot be used."""
    message = proof_message(nonce, csr)
    key, signature = _by_key(Path(given.key), message) if given.key else ("", "")
    chain, chain_signature = _by_certificate(files, message)
    document = _read(given.document).strip("\n") if given.document else ""
    told = _read(given.signature) if given.signature else ""
    return Proof(nonce, key, signature, chain, chain_signature, document, told)


def _by_key(path: Path, message: bytes) -> tuple[str, str]:
    try:
        check_private(path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, PermissionsError, ValueError, TypeError) as error:
        raise AgentError(f"cannot use --join-proof key={path}: {error}", EXIT_USAGE) from error
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public.decode(), signature_of(key, message, str(path))


def _by_certificate(files: CertificateFiles, message: bytes) -> tuple[str, str]:
    """The certificate that this workload had before, if it still has its key."""
    try:
        chain, key = files.chain.read_text(), serialization.load_pem_private_key(files.key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return "", ""
    return chain, signature_of(key, message, str(files.key))


def signature_of(key: object, message: bytes, where: str) -> str:
    """The signature of `message` by a private key, in base64. AgentError, with `where` the key is from, if it cannot
    sign."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signed = key.sign(message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPrivateKey):
        signed = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        signed = key.sign(message)
    else:
        raise AgentError(f"{where}: expected an elliptic curve, RSA or Ed25519 key", EXIT_USAGE)
    return base64.b64encode(signed).decode()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"cannot read {path}: {error}", EXIT_USAGE) from error
