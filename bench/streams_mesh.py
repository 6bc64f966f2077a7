"""What the streams benchmark runs on: a synthetic mesh of services, and certificates for its simulated proxies."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.schema.decode import decode_documents

NAMESPACE = "load"
ACCOUNT = "proxy"
IDENTITY = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{ACCOUNT}"
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: load}}
spec: {{selector: {{app: service-{number}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


def service_documents(services: int) -> tuple[Document[object], ...]:
    """One Service per number, sorted as a collector does."""
    text = "---\n".join(SERVICE.format(number=number) for number in range(services))
    decoded = decode_documents(text, "bench.yaml")
    if decoded.problems:
        raise ValueError(str(decoded.problems[0]))
    return tuple(sorted(decoded.documents, key=lambda document: document.key))


def backends(services: int) -> list[Workload]:
    """One healthy endpoint per service."""
    return [
        Workload(
            f"backend-{number}",
            NAMESPACE,
            "backend",
            labels=(("app", f"service-{number}"),),
            ports=(WorkloadPort(8080, SocketAddress("127.0.0.1", 8080), _address(number)),),
            state=WorkloadState.HEALTHY,
        )
        for number in range(services)
    ]


def proxies(count: int) -> list[Workload]:
    """Workloads that only call."""
    return [
        Workload(f"proxy-{number}", NAMESPACE, ACCOUNT, outbound=SocketAddress("127.0.0.1", 15001))
        for number in range(count)
    ]


def moved(workload: Workload, step: int) -> Workload:
    """The same backend at another port: one endpoint change."""
    port = workload.ports[0]
    elsewhere = SocketAddress(port.inbound.host, 20000 + step)
    return replace(workload, ports=(replace(port, inbound=elsewhere),))


def snapshot(revision: int, documents: tuple[Document[object], ...], workloads: list[Workload]) -> ConfigSnapshot:
    """What the collector would hand to the build loop."""
    ordered = tuple(sorted(workloads, key=lambda workload: (workload.namespace, workload.name)))
    return ConfigSnapshot(revision, documents, ordered)


def _address(number: int) -> SocketAddress:
    return SocketAddress(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 15006)


def write_certificates(directory: Path, count: int) -> None:
    """root.pem, server.pem and server.key, one proxy.key for all proxies, and NUMBER.pem for each of them."""
    root_key, server_key, proxy_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _sign("root", root_key, root_key, None)
    (directory / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    _write_key(directory / "server.key", server_key)
    _write_key(directory / "proxy.key", proxy_key)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"),
    ]
    server = _sign("weft-control-plane", server_key, root_key, names)
    (directory / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    for number in range(count):
        leaf = _sign(f"proxy-{number}.{NAMESPACE}", proxy_key, root_key, [x509.UniformResourceIdentifier(IDENTITY)])
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
