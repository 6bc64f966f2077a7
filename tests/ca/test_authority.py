"""The CA's life on disk and the certificates it signs, judged by openssl as well."""

import contextlib
import datetime
import os
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.ca import authority as authority_module
from weft.ca.authority import BACKDATED, INTERMEDIATE_LIFE, AuthorityError, open_authority, run_rotation
from weft.ca.request import CertificateRefusedError
from weft.model.identity import SpiffeId
from weft.settings import private
from weft.settings.shared import ResultT

NOW = 1_800_000_000.0
REVIEWS = SpiffeId("cluster.local", "default", "reviews")
PROXY = "reviews-v1.default"


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def certificates(chain: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(chain.encode())


def test_leaf_says_who_and_nothing_else(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = open_authority(tmp_path / "ca", clock=Clock()).issue(request_for(key), REVIEWS, PROXY)
    leaf, intermediate = certificates(issued.chain)
    assert [a.value for a in leaf.subject] == [PROXY]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/reviews")]
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    assert leaf.public_key() == key.public_key()
    assert intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert (issued.not_before, issued.not_after) == (NOW - BACKDATED, NOW + 24 * 3600)
    assert leaf.not_valid_after_utc == datetime.datetime.fromtimestamp(issued.not_after, datetime.UTC)


def test_the_subject_names_service_and_revision_and_only_what_a_label_may_say(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", clock=Clock())
    csr = request_for(ec.generate_private_key(ec.SECP256R1()))
    issued = authority.issue(csr, REVIEWS, PROXY, service="r" * 63, revision="v1.2_3-x")
    [leaf, _] = certificates(issued.chain)
    assert leaf.subject.rfc4514_string() == f"OU=v1.2_3-x,O={'r' * 63},CN={PROXY}"
    for bad in ("a,CN=x", "a=b", "a|b", "a\n", "a b", "\u0430", "x" * 64, "a\x00"):
        for service, revision in ((bad, ""), ("", bad)):
            with pytest.raises(CertificateRefusedError, match="value of a label"):
                authority.issue(csr, REVIEWS, PROXY, service=service, revision=revision)


def test_serials_differ_and_ttl_is_bounded(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", clock=Clock())
    request = request_for(ec.generate_private_key(ec.SECP256R1()))
    issued = [authority.issue(request, REVIEWS, PROXY, ttl) for ttl in (60.0, 10 * 365 * 86400.0, -5.0)]
    assert len({certificates(one.chain)[0].serial_number for one in issued}) == 3
    assert [one.not_after - NOW for one in issued] == [60, 24 * 3600, 10]


def test_openssl_verifies_the_chain(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    issued = authority.issue(request_for(ec.generate_private_key(ec.SECP256R1())), REVIEWS, PROXY)
    (tmp_path / "bundle.pem").write_text(issued.bundle)
    (tmp_path / "chain.pem").write_text(issued.chain)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "bundle.pem", "-untrusted", "chain.pem"]
    for purpose in ("sslclient", "sslserver"):
        done = subprocess.run(
            [*command, "-purpose", purpose, "chain.pem"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    other = open_authority(tmp_path / "other")
    (tmp_path / "bundle.pem").write_text(other.bundle)
    done = subprocess.run([*command, "chain.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_server_certificate_works_for_python_tls(tmp_path: Path) -> None:
    server = open_authority(tmp_path / "ca").server_certificate(["192.0.2.7", "mesh.example"])
    assert str(server.identity) == "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"
    assert server.key not in repr(server)
    chain = tmp_path / "server.pem"
    chain.write_text(server.key + server.chain)
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(chain)
    calling = ssl.create_default_context(cadata=server.bundle)
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("localhost", "127.0.0.1", "192.0.2.7", "mesh.example"):
        a, b, c, d = (ssl.MemoryBIO() for _ in range(4))
        client = calling.wrap_bio(a, b, server_hostname=host)
        peer = accepting.wrap_bio(c, d, server_side=True)
        for _ in range(4):
            for side in (client, peer):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                c.write(b.read())
                a.write(d.read())
        assert client.version() == "TLSv1.3"


def test_files_are_private_and_survive_a_restart(tmp_path: Path) -> None:
    first = open_authority(tmp_path / "ca")
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    files = sorted((tmp_path / "ca").iterdir())
    assert [file.name for file in files] == ["intermediate.pem", "root.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert open_authority(tmp_path / "ca").fingerprint == first.fingerprint
    assert first.fingerprint.startswith("sha256:")


@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem", "."])
def test_open_files_are_refused(tmp_path: Path, name: str) -> None:
    open_authority(tmp_path / "ca")
    (tmp_path / "ca" / name).chmod(0o750 if name == "." else 0o640)
    with pytest.raises(AuthorityError, match="chmod"):
        open_authority(tmp_path / "ca")


def test_a_link_in_place_of_a_key_is_refused(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca")
    (tmp_path / "ca" / "root.pem").rename(tmp_path / "elsewhere.pem")
    (tmp_path / "ca" / "root.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(AuthorityError, match="symbolic link"):
        open_authority(tmp_path / "ca")


def test_damage_and_another_trust_domain_are_told(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca")
    with pytest.raises(AuthorityError, match=r"trust domain 'cluster\.local', not of 'other\.example'"):
        open_authority(tmp_path / "ca", "other.example")
    (tmp_path / "ca" / "root.pem").write_text("half a ke")
    with pytest.raises(AuthorityError, match="damaged"):
        open_authority(tmp_path / "ca")


class Crash(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("operation", ["open", "fsync", "replace"])
@pytest.mark.parametrize("survived", range(5))
def test_a_crash_while_it_is_made_leaves_a_usable_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, survived: int
) -> None:
    calls = 0
    owner = {"open": os, "fsync": os, "replace": Path}[operation]
    real = getattr(owner, operation)

    def crashing(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls > survived:
            raise Crash
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, operation, crashing)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        try:
            before = open_authority(tmp_path / "ca").fingerprint
        except Crash:
            before = None
    after = open_authority(tmp_path / "ca")
    if before is not None:
        assert after.fingerprint == before
    issued = after.issue(request_for(ec.generate_private_key(ec.SECP256R1())), REVIEWS, PROXY)
    leaf, intermediate = certificates(issued.chain)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(certificates(issued.bundle)[0])
    assert sorted(file.name for file in (tmp_path / "ca").iterdir()) == ["intermediate.pem", "root.pem"]


async def test_intermediate_rotates_at_half_its_life(tmp_path: Path) -> None:
    clock = Clock()
    authority = open_authority(tmp_path / "ca", clock=clock)
    request = request_for(ec.generate_private_key(ec.SECP256R1()))
    first = authority.issue(request, REVIEWS, PROXY)
    clock.now = NOW + INTERMEDIATE_LIFE / 2 - 3600
    assert not authority.rotate()
    clock.now = NOW + INTERMEDIATE_LIFE / 2 + 3600
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise Crash

    leads = False
    with pytest.raises(Crash):
        await run_rotation(authority, lambda: leads, sleep=sleep)
    assert certificates(authority.issue(request, REVIEWS, PROXY).chain)[1] == certificates(first.chain)[1]
    leads, rounds = True, 0
    with pytest.raises(Crash):
        await run_rotation(authority, lambda: leads, sleep=sleep)
    second = authority.issue(request, REVIEWS, PROXY)
    assert certificates(second.chain)[1] != certificates(first.chain)[1]
    assert second.bundle == first.bundle
    again = open_authority(tmp_path / "ca", clock=clock).issue(request, REVIEWS, PROXY)
    assert certificates(again.chain)[1] == certificates(second.chain)[1]


class DamagedCopies:
    """A directory that all have, in which somebody has damaged a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def change(self, work: Callable[[Path], ResultT]) -> ResultT:
        """Hand out a damaged copy."""
        (self.directory / "root.pem").write_text("no certificate")
        return work(self.directory)

    async def fetch(self) -> None:
        """Leave what is here."""


async def test_a_damaged_authority_of_all_is_told_and_what_was_there_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, rounds = Clock(), 0
    open_authority(tmp_path / "copy", clock=clock)
    authority = open_authority(tmp_path / "ca", clock=clock, shared=DamagedCopies(tmp_path / "copy"))
    clock.now = NOW + INTERMEDIATE_LIFE / 2 + 3600

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise Crash

    with pytest.raises(Crash):
        await run_rotation(authority, sleep=sleep)
    assert "the intermediate certificate cannot be replaced, trying again: " in caplog.text
    assert authority.issue(request_for(ec.generate_private_key(ec.SECP256R1())), REVIEWS, PROXY).chain


def test_an_expired_intermediate_is_replaced_on_start(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca", clock=Clock())
    late = Clock(NOW + INTERMEDIATE_LIFE + 86400)
    authority = open_authority(tmp_path / "ca", clock=late)
    issued = authority.issue(request_for(ec.generate_private_key(ec.SECP256R1())), REVIEWS, PROXY)
    assert certificates(issued.chain)[1].not_valid_after_utc.timestamp() > late.now
    with pytest.raises(AuthorityError, match="expired"):
        open_authority(tmp_path / "ca", clock=Clock(NOW + authority_module.ROOT_LIFE + 86400))


def test_private_write_keeps_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private.write_atomically(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            private.write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
