"""What every authority does, whoever holds its root: weft itself, files of the user, an offline root, a Vault."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from support.vault import RealVault, SmallVault, real_vault, small_vault
from weft.agent.keys import issuer_fingerprint, make_key
from weft.ca.authority import Authority, fingerprint_hex, open_authority
from weft.ca.brought import Pem
from weft.ca.generations import intermediate_under
from weft.ca.install import install, install_first, request_for_intermediate
from weft.ca.request import CertificateRefusedError
from weft.ca.rotation import Phase, RotationError, advance
from weft.ca.slots import Slots
from weft.ca.upstream import first_from, renew_from
from weft.ca.vault import read_vault
from weft.model.identity import SpiffeId

WEB = SpiffeId("cluster.local", "default", "web")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)


@dataclass
class Case:
    """One authority: how it is opened, how it gets another intermediate, and how another root."""

    open: Callable[[], Authority]
    renew: Callable[[Authority], Awaitable[None]]
    another_root: Callable[[Authority], Awaitable[None]]


class Outside:
    """An authority outside weft: a root that is kept elsewhere."""

    def __init__(self, number: int, key: Key) -> None:
        self.key = key
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"example root {number}")])
        self.certificate = self.certify(self.name, key, path_length=1)

    def certify(self, subject: x509.Name, key: Key, path_length: int = 0) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 300 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def sign(self, csr: str, before: datetime.timedelta = DAY) -> Pem:
        """What an operator does with `weft ca csr`; good since so long before now."""
        request = x509.load_pem_x509_csr(csr.encode())
        now = datetime.datetime.now(datetime.UTC)
        public = request.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        builder = x509.CertificateBuilder().subject_name(request.subject).issuer_name(self.name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - before)
        builder = builder.not_valid_after(now + 300 * DAY)
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return pem("chain.pem", builder.sign(self.key, hashes.SHA256()))

    @property
    def root(self) -> Pem:
        return pem("root.pem", self.certificate)


def pem(name: str, *certificates: x509.Certificate) -> Pem:
    return Pem(name, "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates))


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> Pem:
    private = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()).decode()
    return Pem("key.pem", text)


def now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


@contextlib.asynccontextmanager
async def built_in(path: Path) -> AsyncIterator[Case]:
    async def renew(authority: Authority) -> None:
        number = authority.rotation.target
        generation = authority.generations[number]
        assert generation.root is not None
        issuer = intermediate_under(generation.root, "cluster.local", now())
        authority.replace_issuer(number, replace(generation, issuer=issuer))

    async def another_root(authority: Authority) -> None:
        authority.begin_rotation()

    yield Case(lambda: open_authority(path / "ca"), renew, another_root)


@contextlib.asynccontextmanager
async def from_files(path: Path, keys: Callable[[], Key] = new_key) -> AsyncIterator[Case]:
    outside = Outside(1, keys())

    def files(authority: Outside) -> tuple[Pem, Pem, Pem]:
        key = keys()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example intermediate")])
        return pem("issuer.pem", authority.certify(name, key)), authority.root, key_pem(key)

    install_first(path / "ca", *files(outside), "cluster.local")

    async def renew(authority: Authority) -> None:
        assert not install(authority, *files(outside), now(), 0.0)

    async def another_root(authority: Authority) -> None:
        assert install(authority, *files(Outside(2, keys())), now(), 0.0)

    yield Case(lambda: open_authority(path / "ca"), renew, another_root)


@contextlib.asynccontextmanager
async def from_rsa_files(path: Path) -> AsyncIterator[Case]:
    async with from_files(path, lambda: rsa.generate_private_key(65537, 2048)) as case:
        yield case


@contextlib.asynccontextmanager
async def from_a_root(path: Path) -> AsyncIterator[Case]:
    """The user's root with its key, which signs workloads' certificates itself."""

    def files(number: int) -> tuple[Pem, None, Pem]:
        outside = Outside(number, new_key())
        return outside.root, None, key_pem(outside.key)

    install_first(path / "ca", *files(1), "cluster.local")

    async def another_root(authority: Authority) -> None:
        assert install(authority, *files(2), now(), 0.0)

    yield Case(lambda: open_authority(path / "ca"), another_root, another_root)


@contextlib.asynccontextmanager
async def offline(path: Path) -> AsyncIterator[Case]:
    outside = Outside(1, new_key())
    slots = Slots(path / "ca")
    slots.prepare()
    chain = outside.sign(request_for_intermediate(slots, "cluster.local"))
    install_first(path / "ca", chain, outside.root, None, "cluster.local")

    def answer(authority: Authority, root: Outside) -> bool:
        chain = root.sign(request_for_intermediate(authority.slots, authority.trust_domain))
        return install(authority, chain, root.root, None, now(), 0.0)

    async def renew(authority: Authority) -> None:
        assert not answer(authority, outside)

    async def another_root(authority: Authority) -> None:
        assert answer(authority, Outside(2, new_key()))

    yield Case(lambda: open_authority(path / "ca"), renew, another_root)


@contextlib.asynccontextmanager
async def under(vault: RealVault | SmallVault, path: Path) -> AsyncIterator[Case]:
    upstream = read_vault(vault.settings(path), "cluster.local")
    await first_from(upstream, path / "ca", "cluster.local", upstream.life)

    async def renew(authority: Authority) -> None:
        assert not await renew_from(upstream, authority, upstream.life)

    async def another_root(authority: Authority) -> None:
        await vault.new_root()
        assert await renew_from(upstream, authority, upstream.life)

    yield Case(lambda: open_authority(path / "ca"), renew, another_root)


@contextlib.asynccontextmanager
async def under_vault(path: Path) -> AsyncIterator[Case]:
    async with real_vault(path) as vault, under(vault, path) as case:
        yield case


@contextlib.asynccontextmanager
async def under_small_vault(path: Path) -> AsyncIterator[Case]:
    async with small_vault() as vault, under(vault, path) as case:
        yield case


CASES = {
    one.__name__: one
    for one in (built_in, from_files, from_rsa_files, from_a_root, offline, under_small_vault, under_vault)
}


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with CASES[request.param](tmp_path) as one:
        yield one


def verified(path: Path, chain: str, bundle: str) -> bool:
    (path / "bundle.pem").write_text(bundle)
    (path / "chain.pem").write_text(chain)
    command = ["openssl", "verify", "-CAfile", "bundle.pem", "-untrusted", "chain.pem", "-purpose"]
    return all(
        subprocess.run([*command, each, "chain.pem"], cwd=path, capture_output=True, check=False).returncode == 0
        for each in ("sslclient", "sslserver")
    )


async def test_it_certifies_the_identity_and_nothing_else(case: Case, tmp_path: Path) -> None:
    authority = case.open()
    issued = authority.issue(make_key().csr, WEB, "web.default", 600.0)
    leaf = x509.load_pem_x509_certificate(issued.chain.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(str(WEB))]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.not_after - now() < 601
    assert issued.bundle == authority.bundle
    assert verified(tmp_path, issued.chain, issued.bundle)
    server = authority.server_certificate(["192.0.2.1"])
    assert verified(tmp_path, server.chain, server.bundle)
    for identity, proxy in ((SpiffeId("other.example", "default", "web"), "web.default"), (WEB, "web.other")):
        with pytest.raises(CertificateRefusedError):
            authority.issue(make_key().csr, identity, proxy)


async def test_it_is_the_same_after_a_restart(case: Case) -> None:
    first, again = case.open(), case.open()
    assert (first.bundle, first.fingerprint) == (again.bundle, again.fingerprint)
    assert first.expiries() == again.expiries()


async def test_another_intermediate_of_the_same_root_changes_no_bundle(case: Case, tmp_path: Path) -> None:
    authority = case.open()
    before, bundle = authority.issue(make_key().csr, WEB, "web.default"), authority.bundle
    await case.renew(authority)
    after = authority.issue(make_key().csr, WEB, "web.default")
    if authority.rotation.phase is Phase.STEADY:  # else there is none but the root
        assert issuer_fingerprint(before.chain) != issuer_fingerprint(after.chain)
        assert authority.bundle == bundle
        assert verified(tmp_path, after.chain, bundle)
    assert case.open().issue(make_key().csr, WEB, "web.default").bundle == authority.bundle


async def test_another_root_is_rotated_to_step_by_step(case: Case, tmp_path: Path) -> None:
    authority = case.open()
    old = authority.issue(make_key().csr, WEB, "web.default")
    fingerprint = authority.fingerprint
    await case.another_root(authority)
    assert authority.rotation.abortable
    assert verified(tmp_path, authority.issue(make_key().csr, WEB, "web.default").chain, old.bundle)
    with pytest.raises(RotationError):
        await case.another_root(authority)
    bundles = [authority.bundle]
    while authority.rotation.phase is not Phase.STEADY:
        wanted = authority.wanted
        authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
        issued = authority.issue(make_key().csr, WEB, "web.default")
        assert verified(tmp_path, issued.chain, bundles[-1]), "the step before is enough"
        assert wanted.trust
        if authority.rotation.wants_issuer:
            assert authority.wanted.met(authority.wanted.trust, issuer_fingerprint(issued.chain))
        server = authority.server_certificate(())
        assert verified(tmp_path, server.chain, bundles[-1])
        bundles.append(issued.bundle)
    assert authority.fingerprint != fingerprint
    assert not verified(tmp_path, old.chain, authority.bundle)
    assert case.open().bundle == authority.bundle
    assert all(fingerprint_hex(root) in authority.fingerprint for root in authority.roots)
