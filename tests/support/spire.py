"""A Workload API such as SPIRE's agent has it, with an authority of its own, by the messages of the `spiffe` package.

What it does otherwise than weft's: RSA keys where one wants them, a subject without names (or the first DNS name, as
SPIRE has it), several identities for one process, an intermediate between leaf and root, and no certificate without an
entry. Each process is attested by the socket that it uses.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.discovery.grpc_tls import grpc  # isort: skip - before anything else that loads gRPC

from spiffe._proto import workload_pb2 as pb

DER = serialization.Encoding.DER


def certify(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    signer: Any,
    *,
    life: float = 3600.0,
    authority: bool = False,
    uris: tuple[str, ...] = (),
    dns: tuple[str, ...] = (),
    since: float = 7200.0,
    path_length: int | None = None,
) -> x509.Certificate:
    """A certificate of `key`, as X.509-SVIDs are made."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=since))
        .not_valid_after(now + datetime.timedelta(seconds=life))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = builder.add_extension(
        x509.KeyUsage(
            digital_signature=not authority,
            key_encipherment=False,
            key_cert_sign=authority,
            crl_sign=authority,
            **usage,
        ),
        critical=True,
    )
    names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(name) for name in dns]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not authority:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    return builder.sign(signer, hashes.SHA256())


def name_of(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COUNTRY_NAME, "US"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]
    )


class SpireRoot:
    """A root, with the intermediate of a server below it."""

    def __init__(self, number: int, trust_domain: str) -> None:
        self.key, self.below = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        name, server = name_of(f"SPIRE {number}"), name_of(f"SPIRE server {number}")
        uris = (f"spiffe://{trust_domain}",)
        self.certificate = certify(name, self.key, name, self.key, authority=True, uris=uris)
        self.server = certify(server, self.below, name, self.key, authority=True, uris=uris, path_length=0)

    def svid(self, key: Any, uri: str, life: float, dns: tuple[str, ...] = ()) -> bytes:
        """A leaf and the intermediate, DER."""
        common = [x509.NameAttribute(NameOID.COMMON_NAME, dns[0])] if dns else []
        subject = x509.Name([*name_of("SPIRE"), *common])
        leaf = certify(subject, key, self.server.subject, self.below, life=life, uris=(uri,), dns=dns)
        return leaf.public_bytes(DER) + self.server.public_bytes(DER)


@dataclass
class Entry:
    """What one socket gives: SPIFFE IDs, in order; none: permission denied."""

    ids: list[str]
    rsa: bool = False
    dns: tuple[str, ...] = ()


@dataclass
class Spire:
    """The server. `change` is told to all streams."""

    directory: Path
    trust_domain: str = "cluster.local"
    life: float = 3600.0
    roots: list[SpireRoot] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    _servers: dict[str, Any] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _version: int = 0
    _count: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.roots = [self._new()]

    def _new(self) -> SpireRoot:
        self._count += 1
        return SpireRoot(self._count, self.trust_domain)

    def id(self, account: str, namespace: str = "default") -> str:
        return f"spiffe://{self.trust_domain}/ns/{namespace}/sa/{account}"

    def socket(self, name: str, *ids: str, **options: Any) -> str:
        """Listen for a process with these identities; the address."""
        self.entries[name] = Entry(list(ids), **options)
        return self.listen(name)

    def listen(self, name: str) -> str:
        path = self.directory / f"{name}.sock"
        path.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor(8))
        handlers: dict[str, Any] = {
            "FetchX509SVID": grpc.unary_stream_rpc_method_handler(lambda _, context: self._svids(name, context)),
            "FetchX509Bundles": grpc.unary_stream_rpc_method_handler(lambda _, context: self._bundles(name, context)),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        self._servers[name] = server
        return f"unix:{path}"

    def close(self, name: str) -> None:
        """Its agent is away."""
        self._servers.pop(name).stop(0).wait()
        (self.directory / f"{name}.sock").unlink(missing_ok=True)

    def change(self) -> None:
        """Everybody is given new certificates, and the bundle."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def prepare_root(self) -> None:
        """A new root is published, and signs nothing yet."""
        self.roots.append(self._new())
        self.change()

    def activate_root(self) -> None:
        """The newest root signs."""
        self.roots.insert(0, self.roots.pop())
        self.change()

    def drop_root(self) -> None:
        """Only the root that signs is left."""
        del self.roots[1:]
        self.change()

    def stop(self) -> None:
        with self._changed:
            self._version = -1
            self._changed.notify_all()
        for name in list(self._servers):
            self.close(name)

    def _follow(self, context: Any) -> Iterator[None]:
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        while context.is_active() and self._version >= 0:
            version = self._version
            yield
            with self._changed:
                while self._version == version and context.is_active():
                    self._changed.wait(0.2)

    def _svids(self, name: str, context: Any) -> Iterator[bytes]:
        for _ in self._follow(context):
            entry = self.entries[name]
            if not entry.ids:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            answer = pb.X509SVIDResponse()
            for uri in entry.ids:
                key = rsa.generate_private_key(65537, 2048) if entry.rsa else ec.generate_private_key(ec.SECP256R1())
                private = key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
                chain = self.roots[0].svid(key, uri, self.life, entry.dns)
                answer.svids.add(spiffe_id=uri, x509_svid=chain, x509_svid_key=private, bundle=self.bundle())
            yield answer.SerializeToString()

    def _bundles(self, name: str, context: Any) -> Iterator[bytes]:
        for _ in self._follow(context):
            if not self.entries[name].ids:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            yield pb.X509BundlesResponse(
                bundles={f"spiffe://{self.trust_domain}": self.bundle(), "spiffe://other.example": self.bundle()}
            ).SerializeToString()

    def bundle(self) -> bytes:
        return b"".join(root.certificate.public_bytes(DER) for root in self.roots)
