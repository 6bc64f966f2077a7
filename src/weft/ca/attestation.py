"""Attestation: what a join token demands besides itself, and whether it was proven. Pure, and offline: with given keys.

A key signs `weft.model.enrolment.proof_message`, which binds the proof to the server's nonce and to the key that is to
be certified. Identity documents of clouds are bound to what they say: AWS signs JSON (RSA, SHA-256, beside it or in
PKCS #7), Google and Azure sign JSON Web Tokens (RFC 7515, RS256 only), which must be for this mesh and not have
expired, and Azure signs the attested data of a machine (PKCS #7), good for some hours.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from weft.ca.cms import Signed, read_signed
from weft.ca.svid import check_svid
from weft.model.base64url import decode_bytes, decode_number
from weft.model.enrolment import Proof
from weft.model.identity import SpiffeId

CLOUDS = ("aws", "gcp", "azure")
MAX_KEYS_BYTES = 128 * 1024
MAX_DOCUMENT_BYTES = 16 * 1024
_SKEW = 60.0
_LEAST_RSA_BITS = 2048
_NAMES = {
    "aws": {"account": "accountId", "instance": "instanceId", "image": "imageId"},
    "gcp": {
        "account": "google.compute_engine.project_id",
        "project": "google.compute_engine.project_id",
        "instance": "google.compute_engine.instance_id",
        "zone": "google.compute_engine.zone",
    },
    "azure": {"account": "tid", "tenant": "tid", "instance": "xms_mirid"},
    "azure-machine": {"account": "subscriptionId", "subscription": "subscriptionId", "instance": "vmId"},
}
"""Short names of claims, by what a cloud signs."""
_AZURE_NAMES = ("metadata.azure.com", "metadata.azure.us", "metadata.azure.cn", "metadata.microsoftazure.de")
"""Whose certificate signs attested data: the service's, or one of its regions'. Its issuers sign others' too."""
_AZURE_TIME = "%m/%d/%y %H:%M:%S %z"


class AttestationError(Exception):
    """A demand is not met. `code` is ``proof-missing`` (nothing was shown for it) or ``proof-wrong``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Demands(msgspec.Struct, frozen=True):
    """All that must be proven. `networks`: from where. `key`: ``sha256:HEX`` of a public key (its DER). `certificate`:
    an earlier one of the same workload. `cloud` with the `keys` its documents are signed by (PEM certificates or public
    keys, or a JSON Web Key Set) and the `claims` that they must have."""

    networks: tuple[str, ...] = ()
    key: str = ""
    certificate: bool = False
    cloud: str = ""
    keys: str = ""
    claims: tuple[tuple[str, str], ...] = ()

    def words(self) -> tuple[str, ...]:
        """For people: each demand."""
        found = [f"from {', '.join(self.networks)}"] if self.networks else []
        found += [f"key {self.key[:19]}…"] if self.key else []
        found += ["previous certificate"] if self.certificate else []
        if self.cloud:
            found.append(" ".join([self.cloud, *[f"{name}={value}" for name, value in self.claims]]))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who wants to join: from which address, as whom, with which message signed (bytes), and the mesh's own roots."""

    address: str
    identity: SpiffeId
    proxy: str
    message: bytes
    bundle: str


def check_demands(demands: Demands) -> None:
    """ValueError that names what cannot be demanded."""
    for network in demands.networks:
        ipaddress.ip_network(network)  # ValueError
    if demands.key and not (demands.key.startswith("sha256:") and len(demands.key) == 71):
        raise ValueError(f"key '{demands.key[:80]}': expected sha256: and 64 hexadecimal digits")
    if not demands.cloud:
        if demands.keys or demands.claims:
            raise ValueError("keys and claims go with a cloud identity")
        return
    if demands.cloud not in CLOUDS:
        raise ValueError(f"cloud '{demands.cloud[:80]}': expected one of {', '.join(CLOUDS)}")
    if not demands.claims:
        raise ValueError("a cloud identity without a claim would let in every instance of that cloud: give account=…")
    if len(demands.keys) > MAX_KEYS_BYTES or not tuple(_keys(demands.keys)):
        raise ValueError("the keys hold no RSA public key, as PEM or as a JSON Web Key Set")


def verify(demands: Demands, proof: Proof, applicant: Applicant, now: float) -> None:
    """AttestationError unless everything that is demanded is proven. `now` in epoch seconds."""
    if demands.networks:
        _verify_address(demands.networks, applicant.address)
    if demands.key:
        _verify_key(demands.key, proof, applicant.message)
    if demands.certificate:
        _verify_certificate(proof, applicant)
    if demands.cloud == "aws":
        _verify_claims(demands, _aws_claims(demands, proof), "aws")
    elif demands.cloud == "azure" and _document(proof).lstrip().startswith("{"):
        _verify_claims(demands, _azure_claims(demands, proof, now), "azure-machine")
    elif demands.cloud:
        _verify_claims(demands, _token_claims(demands, proof, applicant.identity.trust_domain, now), demands.cloud)


def verify_svid(proof: Proof, message: bytes, identity: SpiffeId, roots: str, now: float) -> None:
    """AttestationError unless the holder of an SVID of `identity`, signed under `roots` (PEM), signed `message`."""
    try:
        chain = x509.load_pem_x509_certificates(proof.svid.encode())
        authorities = x509.load_pem_x509_certificates(roots.encode())
        found = check_svid(chain, authorities, identity.trust_domain, now)
    except ValueError as error:
        raise AttestationError("proof-wrong", f"the SVID is refused: {error}") from error
    if found != identity:
        raise AttestationError("proof-wrong", f"the SVID is that of {found}, not of {identity}")
    if not _signed_by(chain[0].public_key(), _bytes(proof.svid_signature), message):
        raise AttestationError("proof-wrong", "who shows the SVID does not have its key")


def key_fingerprint(key: Any) -> str:
    """``sha256:HEX`` of a public key's DER (SubjectPublicKeyInfo)."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _verify_address(networks: tuple[str, ...], address: str) -> None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError as error:
        raise AttestationError("proof-wrong", "the address that this comes from is not known") from error
    if not any(found in ipaddress.ip_network(network) for network in networks):
        raise AttestationError("proof-wrong", f"the token works from {', '.join(networks)}, this comes from {address}")


def _verify_key(wanted: str, proof: Proof, message: bytes) -> None:
    if not proof.key or not proof.signature:
        raise AttestationError(
            "proof-missing", f"the token wants a signature by the key {wanted}: weft run --join-proof key=…"
        )
    try:
        key = serialization.load_pem_public_key(proof.key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AttestationError("proof-wrong", "the key that was shown cannot be read") from error
    if key_fingerprint(key) != wanted:
        raise AttestationError("proof-wrong", f"the key that was shown is {key_fingerprint(key)}, not {wanted}")
    if not _signed_by(key, _bytes(proof.signature), message):
        raise AttestationError("proof-wrong", "the signature is not by the key that was shown, or of another nonce")


def _verify_certificate(proof: Proof, applicant: Applicant) -> None:
    if not proof.chain or not proof.chain_signature:
        raise AttestationError("proof-missing", "the token wants a previous certificate of the same workload")
    try:
        leaf, *others = x509.load_pem_x509_certificates(proof.chain.encode())[:3]
        roots = x509.load_pem_x509_certificates(applicant.bundle.encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (NameOID.COMMON_NAME, NameOID.PSEUDONYM)
        common = [one.value for kind in kinds for one in leaf.subject.get_attributes_for_oid(kind)]
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AttestationError("proof-wrong", "the previous certificate cannot be read") from error
    if not any(
        _issued(leaf, root) or any(_issued(leaf, one) and _issued(one, root) for one in others) for root in roots
    ):
        raise AttestationError("proof-wrong", "the previous certificate is not of this mesh")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris != [str(applicant.identity)] or common != [applicant.proxy]:
        raise AttestationError("proof-wrong", f"the previous certificate is not one of {applicant.proxy}")
    if not _signed_by(leaf.public_key(), _bytes(proof.chain_signature), applicant.message):
        raise AttestationError("proof-wrong", "who shows the previous certificate does not have its key")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.ca


def _aws_claims(demands: Demands, proof: Proof) -> Mapping[str, Any]:
    """The instance identity document, signed as ``…/instance-identity/signature`` has it, or as it stands in
    ``…/instance-identity/rsa2048``."""
    if not _document(proof).lstrip().startswith("{"):
        signed = _signed_data(_document(proof))
        if not any(signed.by(key) for _, key in _keys(demands.keys)):
            raise AttestationError("proof-wrong", "the identity document is not signed by any of the given keys")
        return _json(signed.content)
    document, signature = _document(proof).encode(), _bytes(proof.document_signature)
    if not any(_signed_by(key, signature, document) for _, key in _keys(demands.keys)):
        raise AttestationError("proof-wrong", "the identity document is not signed by any of the given keys")
    return _json(document)


def _azure_claims(demands: Demands, proof: Proof, now: float) -> Mapping[str, Any]:
    """The attested data of a machine, ``/metadata/attested/document``: the certificate that signed it comes with it,
    and was issued under one of the given ones."""
    envelope = _json(_document(proof).encode())
    signature = envelope.get("signature")
    if envelope.get("encoding") != "pkcs7" or not isinstance(signature, str):
        raise AttestationError("proof-wrong", "the attested data is not in PKCS #7")
    signed = _signed_data(signature)
    given = [one for one in _certificates(demands.keys) if _in_time(one, now)]
    signers = [one for one in signed.certificates if signed.by(one.public_key()) and _in_time(one, now)]
    if not any(_is_azures(one) and _leads(one, signed.certificates, given, now) for one in signers):
        raise AttestationError("proof-wrong", "the attested data is not signed by Azure under the given certificates")
    claims = _json(signed.content)
    times = claims.get("timeStamp")
    begin, end = (_azure_time(times, name) for name in ("createdOn", "expiresOn"))
    if begin > now + _SKEW or end <= now - _SKEW:
        raise AttestationError("proof-wrong", "the attested data has expired, or is not valid yet")
    return claims


def _azure_time(times: Any, name: str) -> float:
    text = times.get(name) if isinstance(times, Mapping) else None
    try:
        return datetime.datetime.strptime(str(text)[:40], _AZURE_TIME).timestamp()
    except (ValueError, OverflowError) as error:
        raise AttestationError("proof-wrong", "the attested data does not say until when it is good") from error


def _is_azures(certificate: x509.Certificate) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    found = names.get_values_for_type(x509.DNSName)
    return any(name == each or name.endswith(f".{each}") for name in found for each in _AZURE_NAMES)


def _leads(
    one: x509.Certificate, between: Sequence[x509.Certificate], given: Sequence[x509.Certificate], now: float
) -> bool:
    """Whether a given certificate issued `one`, at most one of those `between` them."""
    if one in given or any(_issued(one, each) for each in given):
        return True
    middle = [each for each in between if _in_time(each, now) and _issued(one, each)]
    return any(_issued(each, top) for each in middle for top in given)


def _in_time(certificate: x509.Certificate, now: float) -> bool:
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return begin - _SKEW <= now <= end


def _signed_data(text: str) -> Signed:
    """PKCS #7 in base64, with or without PEM's first and last line."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("-----")]
    try:
        return read_signed(base64.b64decode("".join(lines), validate=True))
    except (binascii.Error, ValueError) as error:
        raise AttestationError("proof-wrong", f"the signed document is refused: {error}") from error


def _token_claims(demands: Demands, proof: Proof, trust_domain: str, now: float) -> Mapping[str, Any]:
    """The claims of a JSON Web Token: RS256, of a given key, for this mesh, not expired."""
    text = _document(proof)
    head, _, rest = text.partition(".")
    body, _, signature = rest.partition(".")
    header = _json(_bytes64(head))
    if header.get("alg") != "RS256":
        raise AttestationError("proof-wrong", "the identity token is not signed by RS256")
    keys = [key for name, key in _keys(demands.keys) if not name or name == header.get("kid")]
    if not any(_signed_by(key, _bytes64(signature), f"{head}.{body}".encode()) for key in keys):
        raise AttestationError("proof-wrong", "the identity token is not signed by any of the given keys")
    claims = _json(_bytes64(body))
    end, begin = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    if (
        not isinstance(end, int | float)
        or now > end + _SKEW
        or not isinstance(begin, int | float)
        or begin > now + _SKEW
    ):
        raise AttestationError("proof-wrong", "the identity token has expired, or is not valid yet")
    audience = dict(demands.claims).get("aud", f"weft://{trust_domain}")
    if not _has(claims.get("aud"), audience):
        raise AttestationError("proof-wrong", f"the identity token is not for {audience}")
    return claims


def _verify_claims(demands: Demands, claims: Mapping[str, Any], names: str) -> None:
    for name, wanted in demands.claims:
        found: Any = claims
        for part in _NAMES[names].get(name, name).split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not _has(found, wanted):
            raise AttestationError("proof-wrong", f"the identity document does not say {name}={wanted}")


def _has(found: Any, wanted: str) -> bool:
    values = found if isinstance(found, list) else [found]
    return any(isinstance(one, str | int) and not isinstance(one, bool) and str(one) == wanted for one in values)


def _document(proof: Proof) -> str:
    if not proof.document:
        raise AttestationError(
            "proof-missing", "the token wants the cloud's identity document: weft run --join-proof document=…"
        )
    if len(proof.document) > MAX_DOCUMENT_BYTES:
        raise AttestationError("proof-wrong", "the identity document is too large")
    return proof.document


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AttestationError("proof-wrong", "the identity document cannot be read") from error
    if not isinstance(found, dict):
        raise AttestationError("proof-wrong", "the identity document cannot be read")
    return found


def _keys(text: str) -> Iterator[tuple[str, Any]]:
    """The RSA keys in `text`, each with its name (empty: none)."""
    if text.lstrip().startswith("{"):
        try:
            rows = json.loads(text)["keys"]
            for row in rows:
                if row.get("kty") == "RSA":
                    numbers = rsa.RSAPublicNumbers(decode_number(row["e"]), decode_number(row["n"]))
                    yield str(row.get("kid", "")), numbers.public_key()
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        return
    for block in text.split("-----BEGIN ")[1:]:
        pem = f"-----BEGIN {block}".encode()
        try:
            if block.startswith("CERTIFICATE"):
                key: Any = x509.load_pem_x509_certificate(pem).public_key()
            else:
                key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, rsa.RSAPublicKey):
            yield "", key


def _certificates(text: str) -> list[x509.Certificate]:
    """The certificates in `text`, which may hold keys besides."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return []


def _signed_by(key: object, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is one of `message` by `key`: ECDSA or RSA (PKCS #1) with SHA-256, or Ed25519."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AttestationError("proof-wrong", "a signature is not in base64") from error


def _bytes64(text: str) -> bytes:
    try:
        return decode_bytes(text)
    except ValueError as error:
        raise AttestationError("proof-wrong", "the identity token cannot be read") from error
