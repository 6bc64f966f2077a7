"""A throw-away certificate authority for tests, and workload directories as an agent lays them out."""

from __future__ import annotations

import datetime
import itertools
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weft.model.telemetry import LOG_DIRECTORY
from weft.xds.bootstrap import build_secret_files
from weft.xds.nodes.names import CarriedName

_NUMBERS = itertools.count(1)
"""Roots must differ by name: that is how an issuer is looked up."""
_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
"""Envoy's SPIFFE validator refuses leaves that do not say what their key is for."""


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key in PEM."""

    chain: bytes
    key: bytes


class TestAuthority:
    """One self-signed root that signs leaves with a URI name or DNS names."""

    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test root {next(_NUMBERS)}")])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> bytes:
        """The root in PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def crl(self, *revoked: Leaf) -> bytes:
        """A list of what it takes back, in PEM."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - datetime.timedelta(minutes=5)).next_update(now + datetime.timedelta(days=1))
        for leaf in revoked:
            number = x509.load_pem_x509_certificate(leaf.chain).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *,
        uri: str = "",
        dns: tuple[str, ...] = (),
        subject: str = "CN=leaf",
        more: tuple[str, ...] = (),
        life: float = 3600.0,
    ) -> Leaf:
        """A fresh key and certificate for these names; `subject` as RFC 4514 writes it, `more` are URIs behind
        `uri`. It ends in `life` seconds."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.UniformResourceIdentifier(each) for each in (uri, *more) if each]
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(subject))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(seconds=life))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_DIGITAL_SIGNATURE, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def write_workload_directory(directory: Path, leaf: Leaf, bundle: bytes, whose: CarriedName | None = None) -> None:
    """A directory for log files, SDS files, and certificates behind a symlink that is swapped by a rename, as an agent
    keeps them; for the Envoy of a node that has `whose` they are."""
    (directory / "sds").mkdir(exist_ok=True)
    (directory / LOG_DIRECTORY).mkdir(exist_ok=True)
    for name, text in build_secret_files(whose=whose).items():
        (directory / name).write_text(text)
    certs = directory / "certs"
    certs.mkdir(exist_ok=True)
    (certs / "revoked.pem").touch()
    rotate_certificates(directory, leaf, bundle)
    for name in ("chain.pem", "key.pem", "bundle.pem"):
        if not (certs / name).is_symlink():
            (certs / name).symlink_to(f"..data/{name}")


def rotate_certificates(directory: Path, leaf: Leaf, bundle: bytes) -> None:
    """Put new files in place at once: a new directory, then the ``..data`` symlink swapped by a rename."""
    certs = directory / "certs"
    generation = certs / f"..{len(list(certs.iterdir()))}"
    generation.mkdir()
    for name, content in (("chain.pem", leaf.chain), ("key.pem", leaf.key), ("bundle.pem", bundle)):
        (generation / name).write_bytes(content)
        (generation / name).chmod(0o600)
    link = certs / "..data_tmp"
    link.symlink_to(generation.name)
    link.replace(certs / "..data")


def client_context(
    authority: TestAuthority, leaf: Leaf | None, directory: Path, *, alpn: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLContext:
    """What a caller with `leaf` (None: without a certificate) opens connections to the mesh with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.bundle.decode())
    context.set_alpn_protocols(list(alpn))
    if leaf is not None:
        (directory / "client.pem").write_bytes(leaf.chain + leaf.key)
        context.load_cert_chain(directory / "client.pem")
    return context
