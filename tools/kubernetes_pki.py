"""Certificates and kubeconfig files of a Kubernetes for tests: an authority of two days, worthless elsewhere."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(days=2)
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@dataclass(frozen=True)
class Authority:
    """The cluster's authority, its files in `directory`."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, file: str, name: str, group: str = "", addresses: tuple[str, ...] = ()) -> None:
        """``FILE.crt`` and ``FILE.key`` for who is called `name`; a server's too if there are `addresses`."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if addresses else [])]
        builder = _certificate(_subject(name, group), self.certificate.subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(above, critical=False)
        if addresses:
            names: list[x509.GeneralName] = [x509.DNSName(each) for each in _NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        (self.directory / f"{file}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        _write_key(self.directory / f"{file}.key", key)


def make_authority(directory: Path) -> Authority:
    """A new authority, and the pair of keys that signs tokens of service accounts (``sa.key``, ``sa.pub``)."""
    directory.mkdir(mode=0o700, parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("kubernetes-for-tests", "")
    builder = _certificate(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_CA_USAGE, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(directory / "ca.key", key)
    tokens = rsa.generate_private_key(65537, 2048)
    _write_key(directory / "sa.key", tokens)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (directory / "sa.pub").write_bytes(tokens.public_key().public_bytes(serialization.Encoding.PEM, form))
    return Authority(directory, key, certificate)


def load_authority(directory: Path) -> Authority:
    """The authority that `make_authority` has made there."""
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(directory, key, x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes()))


def write_kubeconfig(path: Path, server: str, pki: Path, file: str = "", token: str = "") -> None:
    """The kubeconfig file of who has ``FILE.crt`` and its key, or a token. JSON is YAML, too."""
    cluster = {"server": server, "certificate-authority-data": _base64(pki / "ca.crt")}
    user = {"token": token} if token else {}
    if file:
        user |= {"client-certificate-data": _base64(pki / f"{file}.crt")}
        user |= {"client-key-data": _base64(pki / f"{file}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))


def _subject(name: str, group: str) -> x509.Name:
    words = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), *words] if group else words)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + _LIFE)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(_pem(key))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
