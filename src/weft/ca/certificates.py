"""Certificates built from parameters alone: root, intermediate and leaf (RFC 5280, SPIFFE X.509-SVID)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.ca.protocol import PrivateKey
from weft.model.identity import SpiffeId

_MAX_NAME = 64
_MAX_LONG_NAME = 128
"""Bounds of RFC 5280, appendix A, for a common name and for a pseudonym."""
"""The longest common name, organisation and unit (RFC 5280, appendix A.1)."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate and its private key."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def not_before(self) -> float:
        """Start of validity, epoch seconds."""
        return self.certificate.not_valid_before_utc.timestamp()

    @property
    def not_after(self) -> float:
        """End of validity, epoch seconds."""
        return self.certificate.not_valid_after_utc.timestamp()


@dataclass(frozen=True, slots=True)
class Validity:
    """From and until when, epoch seconds."""

    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose a leaf certificate is: the proxy's name, and the canonical service and revision of its workload (empty: not
    said). Peers read them for their metrics; nothing is allowed for them. `trust` (`weft.model.distrust.Trust`) tells
    certificates from before an end of trust from those after it; empty where there was none. An `application` has the
    name of its proxy where it proves nothing, so that it can be refused with the proxy. `pod` is the uid of the Pod
    that the proxy is in: another Pod of the same name is somebody else; `owner` is what made the Pod, such as a
    Deployment: metrics call it by that name."""

    proxy: str
    service: str = ""
    revision: str = ""
    trust: str = ""
    application: str = ""
    pod: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class LeafParameters:
    """All that stands in a leaf certificate. `hosts` (DNS names and IP addresses) only for the control plane."""

    identity: SpiffeId
    subject: Subject
    key: ec.EllipticCurvePublicKey
    validity: Validity
    hosts: tuple[str, ...] = ()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def build_root(trust_domain: str, validity: Validity) -> Signer:
    """A self-signed root for `trust_domain`, named by its SPIFFE ID."""
    key = new_key()
    name = _name(f"weft root {trust_domain}")
    builder = _ca_builder(name, key.public_key(), trust_domain, validity, path_length=1)
    return Signer(key, builder.issuer_name(name).sign(key, hashes.SHA256()))


def build_intermediate(root: Signer, trust_domain: str, validity: Validity) -> Signer:
    """An intermediate that may sign leaf certificates only."""
    key = new_key()
    builder = _ca_builder(_name(f"weft issuer {trust_domain}"), key.public_key(), trust_domain, validity, path_length=0)
    return Signer(key, _signed(builder, root))


def build_link(former: Signer, root: x509.Certificate) -> x509.Certificate:
    """The new `root`, certified by the `former` one (NewWithOld of RFC 4210): who trusts the former verifies with it
    what the new one signs. Both have one name, so that it does not count for the former's path length."""
    end = min(former.not_after, root.not_valid_after_utc.timestamp())
    validity = Validity(root.not_valid_before_utc.timestamp(), end)
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("only roots that weft made are linked")
    builder = _builder(root.subject, key, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return _signed(builder.add_extension(_key_usage(sign_certificates=True), critical=True), former)


def build_request(key: PrivateKey, trust_domain: str) -> str:
    """The PEM request for an intermediate of `trust_domain`: what it asks for, its signer may grant."""
    names = [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(f"weft issuer {trust_domain}"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM).decode()


def build_leaf(signer: Signer, parameters: LeafParameters) -> x509.Certificate:
    """A certificate for TLS servers and clients, never a CA, with exactly one URI name: the identity. It is critical
    where the certificate has no other name (RFC 5280, 4.2.1.6)."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(parameters.identity))]
    names += [_host_name(host) for host in parameters.hosts]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_leaf_name(parameters.subject), parameters.key, parameters.validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=not parameters.subject.proxy)
    )
    return _signed(builder, signer)


def certificate_pem(*certificates: x509.Certificate) -> str:
    """A chain as PEM, in the given order."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def key_pem(key: PrivateKey) -> str:
    """A private key as unencrypted PKCS#8 PEM: for a 0600 file or for memory."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def signer_from_pem(text: str) -> Signer:
    """The key and the first certificate in `text`; ValueError unless they belong together."""
    key = private_key_from_pem(text)
    certificate = x509.load_pem_x509_certificates(text.encode())[0]
    if key.public_key() != certificate.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Signer(key, certificate)


def private_key_from_pem(text: str) -> PrivateKey:
    """The private key in `text`; ValueError if there is none that can sign certificates here."""
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise ValueError("the key is encrypted, or of a kind that cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the key is neither an elliptic curve nor an RSA key")
    return key


def trust_domain_of(certificate: x509.Certificate) -> str:
    """The trust domain a CA certificate was made for; empty if it names none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris: Sequence[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if uris else ""


def _ca_builder(
    name: x509.Name, key: ec.EllipticCurvePublicKey, trust_domain: str, validity: Validity, path_length: int
) -> x509.CertificateBuilder:
    names = [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
    return (
        _builder(name, key, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def _builder(name: x509.Name, key: ec.EllipticCurvePublicKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(validity.not_before))
        .not_valid_after(_time(validity.not_after))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, signer: Signer) -> x509.Certificate:
    return (
        builder.issuer_name(signer.certificate.subject)
        .add_extension(_issuer_identifier(signer), critical=False)
        .sign(signer.key, hashes.SHA256())
    )


def _issuer_identifier(signer: Signer) -> x509.AuthorityKeyIdentifier:
    """By what the issuer's certificate says of its own key: others compute it otherwise than we do."""
    try:
        own = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_NAME])])


def _leaf_name(subject: Subject) -> x509.Name:
    """``CN=<workload>.<namespace>,O=<service>,OU=<revision>,serialNumber=<trust>,UID=<pod>,title=<owner>``; an
    application's has ``dnQualifier`` for ``CN``, and a proxy whose name is longer than a common name ``pseudonym``."""
    kind = NameOID.COMMON_NAME if len(subject.proxy) <= _MAX_NAME else NameOID.PSEUDONYM
    parts = (
        (kind, subject.proxy),
        (NameOID.DN_QUALIFIER, subject.application),
        (NameOID.ORGANIZATION_NAME, subject.service),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.revision),
        (NameOID.SERIAL_NUMBER, subject.trust),
        (NameOID.USER_ID, subject.pod),
        (NameOID.TITLE, subject.owner),
    )
    long = (NameOID.PSEUDONYM, NameOID.DN_QUALIFIER)
    bounded = ((kind, text[: _MAX_LONG_NAME if kind in long else _MAX_NAME]) for kind, text in parts if text)
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in bounded])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
