"""Hand-made snapshots, a mesh that is just a dict of them, certificates of proxies, and a hand-shake with openssl."""

from __future__ import annotations

import asyncio
import datetime
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.model.origin import Origin
from weft.model.workload import Workload
from weft.xds.resource import framed_resource
from weft.xds.snapshot import Resource, ResourceSet, XdsSnapshot


def resource(
    type_url: str, name: str, version: str, requires: tuple[tuple[str, str], ...] = (), body: bytes = b""
) -> Resource:
    """A resource whose body names it, unless given."""
    body = body or f"{name}={version}".encode()
    return framed_resource(type_url, name, version, body, (Origin(f"{name}.yaml", 7),), requires)


def layer(*resources: Resource) -> ResourceSet:
    """A layer of these."""
    by_type: dict[str, dict[str, Resource]] = {}
    for one in resources:
        by_type.setdefault(one.type_url, {})[one.name] = one
    return ResourceSet(by_type)


def snapshot(revision: int, *resources: Resource) -> XdsSnapshot:
    """A snapshot of one layer."""
    return XdsSnapshot(revision, (layer(*resources),))


@dataclass
class TableCompiler:
    """A compiler whose mesh is a mapping from proxy name to layers; a missing proxy is a failing build."""

    compiled: list[str] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)
    steps_of_nodes: int = 0
    stepped: list[tuple[str, int, object]] = field(default_factory=list)

    def compile(self, mesh: Mapping[str, tuple[ResourceSet, ...]], workload: Workload, revision: int) -> XdsSnapshot:
        """What the table says."""
        self.compiled.append(workload.proxy)
        self.workloads.append(workload)
        return XdsSnapshot(revision, mesh[workload.proxy])

    def steps(self, mesh: Mapping[str, tuple[ResourceSet, ...]], workload: Workload) -> Iterator[None]:
        """As many as are asked for; each is noted."""
        for number in range(self.steps_of_nodes):
            self.stepped.append((workload.proxy, number, mesh))
            yield

    def idle(self) -> None:
        """Nothing to forget."""

    def published(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class KeyPair:
    """PEM of a key, its chain, and the bundle it is checked against."""

    key: str
    chain: str
    bundle: str


class ProxyAuthority:
    """A root that signs certificates as weft's CA does: CN is the proxy's name, one SPIFFE URI."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
        self._root = self._sign(self._key, self._name, 86400, x509.BasicConstraints(ca=True, path_length=0), None)

    @property
    def bundle(self) -> str:
        """The root."""
        return self._root.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, uri: str, life: float = 3600) -> KeyPair:
        """A key pair; `uri` may name several, separated by blanks."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(one) for one in uri.split()]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = self._sign(
            key, subject, life, x509.BasicConstraints(ca=False, path_length=None), [*names, x509.DNSName("localhost")]
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return KeyPair(pem.decode(), leaf.public_bytes(serialization.Encoding.PEM).decode(), self.bundle)

    def _sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        life: float,
        constraints: x509.BasicConstraints,
        names: list[x509.GeneralName] | None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(seconds=life))
            .add_extension(constraints, critical=True)
        )
        if names is not None:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(self._key, hashes.SHA256())


SETTINGS = b"\x04\x00\x00\x00\x00\x00"
"""A server's first frame of HTTP/2 (RFC 9113, 6.5), after its length: who is shown it is let in."""


async def openssl(port: int, directory: Path | None, *options: str) -> str:
    """Try a handshake (with the certificate in `directory`): the protocol that was agreed, or "refused" if the server
    closes the connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "h2", *options]
    if directory is not None:
        command += ["-cert", str(directory / "chain.pem"), "-key", str(directory / "key.pem")]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdin is not None and process.stdout is not None
    text = b""
    async with asyncio.timeout(60):
        while SETTINGS not in text and (chunk := await process.stdout.read(65536)):
            text += chunk
    if process.returncode is None:
        process.kill()
    await process.wait()
    agreed = [word for word in ("TLSv1.3", "TLSv1.2") if f"New, {word}".encode() in text]
    return agreed[0] if agreed and SETTINGS in text else "refused"
