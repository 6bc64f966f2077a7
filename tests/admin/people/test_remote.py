"""The admin API for other hosts: TLS, names, client certificates, and how the command line reaches it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.control import TOKEN, Rig
from weft.admin.api import admin_application
from weft.admin.server import Secured, serving
from weft.ca.authority import Authority
from weft.ca.certificates import key_pem
from weft.ca.issued import Certificate, put_certificate
from weft.cli.main import run
from weft.controlplane.others import build_others, remote_url
from weft.controlplane.settings import RemoteAdmin, ServeError, ServeSettings
from weft.local.remote import Remote, RemoteError
from weft.model.identity import SpiffeId
from weft.model.problem import Severity
from weft.sources.kubernetes.access import Access, Credentials
from weft.sources.kubernetes.user_reviews import UserReviews

NAME = "localhost"
_SHA = hashes.SHA256()


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


@dataclass
class Reached:
    """The admin API as other hosts reach it."""

    rig: Rig
    url: str
    port: int
    ca: Path

    def ask(self, path: str = "/v1/version", cert: Path | None = None, **headers: str) -> tuple[int, Any]:
        """One request, with the admin's token unless `headers` say otherwise."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if cert is not None:
            context.load_cert_chain(cert)
        connection = http.client.HTTPSConnection(NAME, self.port, timeout=10, context=context)
        try:
            given = {"Authorization": f"Bearer {TOKEN}"} | headers
            connection.request("GET", path, headers={name: value for name, value in given.items() if value})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@contextlib.asynccontextmanager
async def reached(rig: Rig, remote: RemoteAdmin, users: UserReviews | None = None) -> AsyncIterator[Reached]:
    settings = ServeSettings(rig.home, remote_admin=remote)
    others = build_others(settings, rig.parts.authority, lambda: rig.parts.collector.snapshot.distrusted, users)
    plain, secured = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    port = secured.getsockname()[1]
    ca = rig.home.root / "ca.pem"
    ca.write_text(rig.parts.authority.bundle)
    application = admin_application(rig.parts, TOKEN, entrance=others.entrance)
    async with serving(application, plain, also=Secured(secured, others.tls)):
        yield Reached(rig, remote_url(remote, secured), port, ca)


@pytest.fixture
async def far(rig: Rig) -> AsyncIterator[Reached]:
    async with reached(rig, RemoteAdmin("127.0.0.1", 0, (NAME, "Mesh.Example"))) as found:
        yield found


async def test_it_is_reached_over_tls_1_3_under_its_names_only(far: Reached) -> None:
    assert (await asyncio.to_thread(far.ask))[0] == 200
    for host in ("evil.example", "10.0.0.1", "127.0.0.2", ""):
        status, body = await asyncio.to_thread(far.ask, Host=host or "x")
        assert (status, body["code"]) == (403, "foreign-host"), host
    for host in (f"mesh.example:{far.port}", "MESH.example", "mesh.example.", "127.0.0.1"):
        assert (await asyncio.to_thread(far.ask, Host=host))[0] == 200, host
    assert (await asyncio.to_thread(far.ask, Authorization=""))[1]["code"] == "token-required"
    old = ssl.create_default_context(cafile=str(far.ca))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(_shake, far.port, old)
    with pytest.raises((http.client.HTTPException, OSError)):
        await asyncio.to_thread(_plain, far.port)


def _shake(port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as one, context.wrap_socket(one, server_hostname=NAME):
        pass


def _plain(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/version")
    connection.getresponse()


async def test_pages_of_other_sites_are_refused_there_too(far: Reached) -> None:
    refused = {"Authorization": "", "Origin": "https://evil.example"}
    assert (await asyncio.to_thread(lambda: far.ask("/v1/version", None, **refused)))[1]["code"] == "foreign-origin"
    plain = {"Authorization": "", "Origin": f"http://{NAME}:{far.port}"}
    assert (await asyncio.to_thread(lambda: far.ask("/v1/version", None, **plain)))[1]["code"] == "foreign-origin"


async def test_the_dashboard_over_tls(far: Reached) -> None:
    """Its address, cookie and origin are those of https."""
    tls = ssl.create_default_context(cafile=str(far.ca))
    base = f"https://{NAME}:{far.port}"
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(base, connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        async with session.post("/v1/dashboard", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            url = (await response.json())["url"]
        assert url.startswith(f"{base}/open?code=")
        async with session.get(url, allow_redirects=False) as response:
            key = response.headers["Location"].partition("key=")[2]
            cookie = response.headers["Set-Cookie"]
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        shown = {"Cookie": cookie.partition(";")[0], "X-Weft-Key": key}
        async with session.get("/v1/self", headers=shown) as response:
            assert response.status == 200
        for origin, status in ((base, 200), (f"http://{NAME}:{far.port}", 403), ("https://evil.example", 403)):
            async with session.post("/v1/explain", headers={**shown, "Origin": origin}, json={}) as response:
                assert (response.status == 403) == (status == 403), origin
        async with session.get("/") as response:
            assert response.status == 200
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def _principal(rig: Rig, name: str, certificate: str, role: str = "viewer") -> None:
    body = {"name": name, "role": role, "certificate": certificate, "ttl": 0}
    async with rig.session() as session, session.post("/v1/principals", json=body) as response:
        assert response.status == 201, await response.text()


def _of_mesh(authority: Authority, path: Path, account: str) -> Path:
    """A workload's certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, _SHA)
    identity = SpiffeId(authority.trust_domain, "ops", account)
    issued = authority.issue(request.public_bytes(serialization.Encoding.PEM).decode(), identity, f"{account}.ops")
    path.write_text(key_pem(key) + issued.chain)
    return path


async def test_a_certificate_of_the_mesh_is_a_principal(far: Reached, tmp_path: Path) -> None:
    authority = far.rig.parts.authority
    await _principal(far.rig, "grafana", f"spiffe://{authority.trust_domain}/ns/ops/sa/grafana")
    known, other = (_of_mesh(authority, tmp_path / name, name) for name in ("grafana", "other"))

    def me(cert: Path, **headers: str) -> tuple[int, Any]:
        return far.ask("/v1/self", cert, **{"Authorization": "", **headers})

    status, body = await _when_known(lambda: me(known))
    assert (status, body["name"], body["proof"], body["permissions"]) == (200, "grafana", "certificate", ["read"])
    assert (await asyncio.to_thread(me, other))[0] == 401, "a workload is nobody here"
    assert (await asyncio.to_thread(me, known, Origin=f"https://{NAME}:{far.port}"))[0] == 401, (
        "a page has no certificate"
    )
    refused = await asyncio.to_thread(lambda: far.ask("/v1/tap", known, Authorization=""))
    assert refused[1]["code"] == "not-permitted"
    async with far.rig.session() as session:
        await session.delete("/v1/principals/grafana")
    assert (await _until(lambda: me(known), 401))[0] == 401


async def test_an_identity_that_was_revoked_is_no_principal_any_more(far: Reached, tmp_path: Path) -> None:
    authority = far.rig.parts.authority
    await _principal(far.rig, "grafana", f"spiffe://{authority.trust_domain}/ns/ops/sa/grafana", "admin")
    known = _of_mesh(authority, tmp_path / "grafana", "grafana")
    assert (await _when_known(lambda: far.ask("/v1/self", known, Authorization="")))[0] == 200
    kept = Certificate("1", "grafana", "", 0.0, 1e12)
    await far.rig.store.write([put_certificate(None, "ops/grafana", kept, 0.0)])
    whose = {"namespace": "ops", "service_account": "grafana"}
    for what in ("revoke", "restore"):  # after that too, with the certificate of before
        async with far.rig.session() as session, session.post(f"/v1/identities/{what}", json=whose) as response:
            assert response.status == 200, await response.text()
        assert (await _until(lambda: far.ask("/v1/self", known, Authorization=""), 401))[0] == 401


async def _when_known(ask: Callable[[], tuple[int, Any]]) -> tuple[int, Any]:
    return await _until(ask, 200)


async def _until(ask: Callable[[], tuple[int, Any]], wanted: int) -> tuple[int, Any]:
    """The rig's own API has made it; the one that is asked follows the store."""
    for _ in range(100):
        found = await asyncio.to_thread(ask)
        if found[0] == wanted:
            return found
    return found


async def test_an_authority_vouches_for_its_own_names_only(rig: Rig, tmp_path: Path) -> None:
    """A root of the user's may say subjects, and no SPIFFE id of the mesh."""
    domain = rig.parts.authority.trust_domain
    root, root_key = _root("The office")
    client_ca = tmp_path / "office.pem"
    client_ca.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    await _principal(rig, "admin-in-mesh", f"spiffe://{domain}/ns/ops/sa/root", "admin")
    await _principal(rig, "far-away", "spiffe://office/ns/a/sa/b")
    await _principal(rig, "alice", "subject:CN=alice,O=Office")
    remote = RemoteAdmin("127.0.0.1", 0, (NAME,), client_ca=client_ca)
    async with reached(rig, remote) as far:
        cases = [
            ("alice", "", "alice"),
            ("mallory", f"spiffe://{domain}/ns/ops/sa/root", ""),
            ("alice", f"spiffe://{domain}/ns/ops/sa/root", "alice"),
            ("bob", "spiffe://office/ns/a/sa/b", "far-away"),
            ("bob", "", ""),
        ]
        for number, (name, spiffe, expected) in enumerate(cases):
            cert = _leaf(root, root_key, name, spiffe, tmp_path / f"{number}.pem")
            status, body = await asyncio.to_thread(functools.partial(far.ask, "/v1/self", cert, Authorization=""))
            assert (body.get("name", ""), status) == (expected, 200 if expected else 401), (name, spiffe)
        stranger, stranger_key = _root("The office")
        cert = _leaf(stranger, stranger_key, "alice", "", tmp_path / "stranger.pem")
        with pytest.raises(OSError):
            await asyncio.to_thread(lambda: far.ask("/v1/self", cert, Authorization=""))


def test_a_root_of_the_mesh_that_is_the_cluster_s_too_is_told(rig: Rig) -> None:
    authority = rig.parts.authority
    root, _ = _root("The office")
    other = root.public_bytes(serialization.Encoding.PEM).decode()
    users = UserReviews("test", Credentials(lambda: Access("test", "https://127.0.0.1:1")))
    settings = ServeSettings(rig.home, remote_admin=RemoteAdmin("127.0.0.1", 0, (NAME,), users=True))
    others = build_others(settings, authority, tuple, users)
    for apart in ("", other, "nothing that is a certificate"):
        users.authority.set(apart)
        assert others.problems() == ()
    users.authority.set(other + authority.bundle)
    [problem] = others.problems()
    assert (problem.code, problem.severity) == ("root-of-users", Severity.WARNING)
    name = x509.load_pem_x509_certificate(authority.bundle.encode()).subject.rfc4514_string()
    assert problem.message == f"the mesh's root '{name}' is one of the API server's clients, too"


async def test_a_root_of_the_mesh_that_is_the_cluster_s_too_makes_no_workload_a_user(rig: Rig, tmp_path: Path) -> None:
    """Pods choose the names and the organisations that their certificates say."""
    authority = rig.parts.authority
    root, root_key = _root("The office")
    users = UserReviews("test", Credentials(lambda: Access("test", "https://127.0.0.1:1")))
    users.authority.set(authority.bundle + root.public_bytes(serialization.Encoding.PEM).decode())
    await _principal(rig, "grafana", f"spiffe://{authority.trust_domain}/ns/ops/sa/grafana")
    known, other = (_of_mesh(authority, tmp_path / name, name) for name in ("grafana", "other"))
    abroad = _leaf(root, root_key, "alice", "spiffe://office/ns/a/sa/b", tmp_path / "abroad.pem")
    alice = _leaf(root, root_key, "alice", "", tmp_path / "alice.pem")
    async with reached(rig, RemoteAdmin("127.0.0.1", 0, (NAME,), users=True), users) as far:

        def me(cert: Path) -> tuple[int, Any]:
            return far.ask("/v1/self", cert, Authorization="")

        status, body = await _when_known(lambda: me(known))
        assert (status, body["name"], body["proof"]) == (200, "grafana", "certificate")
        for one in (other, abroad):
            assert (await asyncio.to_thread(me, one))[0] == 401, one
        status, body = await asyncio.to_thread(me, alice)
        assert (status, body["code"]) == (503, "kubernetes-unavailable"), "a user, whom the API server is asked about"


def _root(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = _certificate(subject, subject, key).add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, _SHA), key


def _leaf(root: x509.Certificate, key: ec.EllipticCurvePrivateKey, name: str, spiffe: str, path: Path) -> Path:
    own = ec.generate_private_key(ec.SECP256R1())
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Office")
    subject = x509.Name([organisation, x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = _certificate(subject, root.subject, own)
    if spiffe:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe)])
        builder = builder.add_extension(names, critical=False)
    leaf = builder.sign(key, _SHA)
    path.write_text(key_pem(own) + leaf.public_bytes(serialization.Encoding.PEM).decode())
    return path


async def test_the_command_line_reaches_it_and_trusts_nobody_else(
    far: Reached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WEFT_SERVER", "WEFT_TOKEN_FILE", "WEFT_CA_FILE", "WEFT_CA_FINGERPRINT", "WEFT_HOME"):
        monkeypatch.setenv(name, "")
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    fingerprint = far.rig.parts.authority.fingerprint

    async def weft(*words: str) -> int:
        return await asyncio.to_thread(run, ["--server", far.url, *words])

    assert await weft("--token-file", str(token), "--ca-fingerprint", fingerprint, "token", "whoami") == 0
    assert "admin token" in capsys.readouterr().out
    assert await weft("--ca-fingerprint", "", "--ca-file", str(far.ca), "token", "whoami", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "admin token"
    assert await weft("--ca-fingerprint", "sha256:" + "00" * 32, "token", "whoami") == 1
    assert "another CA than the given fingerprint" in capsys.readouterr().err
    assert await weft("--ca-fingerprint", "", "--ca-file", "", "token", "whoami") != 0
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
    token.chmod(0o644)
    assert await weft("--ca-file", str(far.ca), "token", "whoami") == 1
    assert "chmod 600" in capsys.readouterr().err


def test_how_it_is_not_reached(tmp_path: Path) -> None:
    for server in ("http://mesh.example:15080", "https://", "mesh.example:15443", "https://a@mesh.example"):
        with pytest.raises(RemoteError, match="expected https://NAME:PORT"):
            Remote(server, token_file="x").connection(1.0)
    with pytest.raises(RemoteError, match="needs --token-file"):
        Remote("https://mesh.example").credentials()


async def test_what_cannot_be_served(rig: Rig, tmp_path: Path) -> None:
    settings = ServeSettings(rig.home)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    nothing.chmod(0o600)
    for remote, said in (
        (RemoteAdmin("0.0.0.0", 0), "needs --admin-host"),
        (RemoteAdmin("127.0.0.1", 0, certificate=nothing), "go together"),
        (RemoteAdmin("127.0.0.1", 0, certificate=nothing, key=nothing), "--admin-cert"),
        (RemoteAdmin("127.0.0.1", 0, client_ca=nothing), "expected certificates in PEM"),
    ):
        with pytest.raises(ServeError, match=said):
            build_others(replace(settings, remote_admin=remote), rig.parts.authority, tuple)


async def test_wrong_tokens_are_counted_by_address(far: Reached) -> None:
    statuses, begun = list[int](), time.monotonic()
    while 429 not in statuses:  # one more is let through every few seconds
        assert len(statuses) < 40, statuses
        statuses.append((await asyncio.to_thread(far.ask, Authorization=f"Bearer {len(statuses)}"))[0])
    assert 10 <= statuses.count(401) <= 11 + (time.monotonic() - begun) / 6
    assert (await asyncio.to_thread(far.ask))[0] == 200


async def test_a_browser_session_ends_with_the_trust_in_the_certificate_that_opened_it(
    far: Reached, tmp_path: Path
) -> None:
    authority = far.rig.parts.authority
    await _principal(far.rig, "grafana", f"spiffe://{authority.trust_domain}/ns/ops/sa/grafana", "admin")
    known = _of_mesh(authority, tmp_path / "grafana", "grafana")
    assert (await _when_known(lambda: far.ask("/v1/self", known, Authorization="")))[0] == 200
    tls = ssl.create_default_context(cafile=str(far.ca))
    tls.load_cert_chain(known)
    base, jar = f"https://{NAME}:{far.port}", aiohttp.DummyCookieJar()
    with_certificate = aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=tls), cookie_jar=jar)
    async with with_certificate as session, session.post("/v1/dashboard") as response:
        url = (await response.json())["url"]
    plain = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(far.ca)))
    async with aiohttp.ClientSession(base, connector=plain, cookie_jar=jar) as page:
        async with page.get(url, allow_redirects=False) as response:
            key = response.headers["Location"].partition("key=")[2]
            shown = {"Cookie": response.headers["Set-Cookie"].partition(";")[0], "X-Weft-Key": key}
        async with page.get("/v1/self", headers=shown) as response:
            assert (await response.json())["name"] == "grafana"
        live = await page.get("/v1/live", headers=shown)
        assert live.status == 200
        kept = Certificate("1", "grafana", "", 0.0, 1e12)
        await far.rig.store.write([put_certificate(None, "ops/grafana", kept, 0.0)])
        whose = {"namespace": "ops", "service_account": "grafana"}
        async with far.rig.session() as session, session.post("/v1/identities/revoke", json=whose) as response:
            assert response.status == 200, await response.text()
        with contextlib.suppress(aiohttp.ClientError):
            async with asyncio.timeout(60):
                await live.read()  # the stream that is open ends too
        async with page.get("/v1/self", headers=shown) as response:
            assert response.status == 401
