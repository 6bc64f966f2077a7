"""Certificates of simulated proxies and of the server they talk to: one root, ECDSA P-256, as weft's own."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER = "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"


def write_certificates(directory: Path, callers: Iterable[tuple[str, str]]) -> None:
    """root.pem, server.pem and server.key, one proxy.key for all callers, and NUMBER.pem for each (name, identity)."""
    root_key, server_key, proxy_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _sign("root", root_key, root_key, None)
    (directory / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    _write_key(directory / "server.key", server_key)
    _write_key(directory / "proxy.key", proxy_key)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    names: list[x509.GeneralName] = [address, x509.UniformResourceIdentifier(SERVER)]
    server = _sign("weft-control-plane", server_key, root_key, names)
    (directory / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    for number, (name, identity) in enumerate(callers):
        leaf = _sign(name, proxy_key, root_key, [x509.UniformResourceIdentifier(identity)])
        (directory / f"{number}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _sign(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName] | None
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
    )
    if names is not None:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer, hashes.SHA256())
