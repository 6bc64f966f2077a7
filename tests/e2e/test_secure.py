"""What a hostile neighbour sees: inbound ports, the control plane's ports, files, dumps."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.envoy import free_port
from support.http import Client, tls_context
from support.mesh import Mesh, until
from weft.settings.home import Home


def files_of(mesh: Mesh, workload: str) -> tuple[Path, Path]:
    """Certificate chain and key of a workload, found by content."""
    chain = key = None
    for path in (mesh.home / "workloads/default" / workload).rglob("*.pem"):
        text = path.read_text()
        if "PRIVATE KEY" in text:
            key = path
        elif text.count("BEGIN CERTIFICATE") >= 2:
            chain = path
    assert chain and key, "no certificate files"
    return chain, key


def bundle_of(mesh: Mesh) -> str:
    return str(mesh.home / "control-plane" / "trust-bundle.pem")


def try_tls(address: tuple[str, int], context: ssl.SSLContext, alpn: str = "") -> str:
    """What one TLS attempt ends in: the protocol version, or an error. TLS 1.3 refuses a client at the first read."""
    if alpn:
        context.set_alpn_protocols([alpn])
    try:
        with socket.create_connection(address, 30) as plain, context.wrap_socket(plain) as tls:
            tls.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            first = tls.recv(100)
            return tls.version() or "" if first else "closed"
    except (OSError, ssl.SSLError) as error:
        return f"refused: {error}"


def foreign_certificate(directory: Path, uri: str) -> tuple[str, str]:
    """A self-signed certificate that claims `uri`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client.default")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1000)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain_file, key_file = directory / "foreign.pem", directory / "foreign.key"
    chain_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(chain_file), str(key_file)


def test_openssl_shows_the_identity_and_only_tls_1_3(world: Mesh) -> None:
    host, port = world.inbound_of("echo-v1")
    chain, key = files_of(world, "client")
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile", bundle_of(world)]
    identity = ["-cert", str(chain), "-key", str(key), "-cert_chain", str(chain)]
    shown = subprocess.run([*words, *identity], input=b"", capture_output=True, timeout=20, check=False).stdout
    assert b"TLSv1.3" in shown
    assert b"Verify return code: 0 (ok)" in shown
    leaf = x509.load_pem_x509_certificate(shown[shown.index(b"-----BEGIN") :])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/echo")]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(hours=25)
    old = subprocess.run([*words, *identity, "-tls1_2"], input=b"", capture_output=True, timeout=20, check=False)
    assert old.returncode != 0


def test_an_inbound_port_refuses_everybody_else(world: Mesh, tmp_path: Path) -> None:
    address = world.inbound_of("echo-v1")
    chain, key = files_of(world, "client")
    good = tls_context(bundle_of(world), str(chain), str(key))
    assert try_tls(address, good, "http/1.1") == "TLSv1.3"
    nobody = tls_context(bundle_of(world))
    assert try_tls(address, nobody, "http/1.1").startswith(("refused", "closed"))
    claim = foreign_certificate(tmp_path, "spiffe://cluster.local/ns/default/sa/client")
    assert try_tls(address, tls_context(bundle_of(world), *claim), "http/1.1").startswith(("refused", "closed"))
    with socket.create_connection(address, 30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(100) == b""


def test_xds_is_for_registered_proxies_over_tls_1_3(world: Mesh, tmp_path: Path) -> None:
    host, port = world.endpoints()["xds"].rsplit(":", 1)
    address = (host, int(port))
    claim = foreign_certificate(tmp_path, "spiffe://cluster.local/ns/default/sa/client")
    for context in (tls_context(bundle_of(world)), tls_context(bundle_of(world), *claim)):
        assert try_tls(address, context, "h2").startswith(("refused", "closed"))
    chain, key = files_of(world, "client")
    old = tls_context(bundle_of(world), str(chain), str(key))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert try_tls(address, old, "h2").startswith("refused")


def test_private_files_are_private(world: Mesh) -> None:
    keys = 0
    token_keys = world.home / "control-plane" / "ca" / "token-keys.json"
    for path in world.home.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and path.stat().st_size < 1_000_000:
            content = path.read_bytes()
            if b"PRIVATE KEY" in content:
                keys += 1
                assert not mode & 0o077, path
            if path.suffix in (".log", ".json") and path != token_keys:
                assert b"PRIVATE KEY" not in content, path
        if stat.S_ISSOCK(mode):
            assert not mode & 0o077, path
    assert keys >= 6
    assert stat.S_IMODE((world.home / "control-plane" / "admin.token").stat().st_mode) == 0o600


def certificate_secret(directory: Path) -> str:
    """A Secret called shop for shop.example and *.other.example; its PEM files are ``c`` and ``k`` in `directory`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example,DNS:*.other.example",
         "-keyout", str(directory / "k"), "-out", str(directory / "c")],
        check=True, capture_output=True,
    )  # fmt: skip
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop"},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": (directory / "c").read_text(), "tls.key": (directory / "k").read_text()},
        }
    )


PLAIN_GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def test_https_listeners_of_a_port_are_apart_and_speak_tls_1_2_only_where_it_is_allowed(
    world: Mesh, tmp_path: Path
) -> None:
    documents = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: shop, port: PORT, protocol: HTTPS, hostname: shop.example, tls: {certificateRefs: [{name: shop}]}}
    - name: other
      port: PORT
      protocol: HTTPS
      hostname: "*.other.example"
      tls: {certificateRefs: [{name: shop}], options: {weft.dev/min-tls-version: "1.2"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: front, port: PORT}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""
    secret, port = certificate_secret(tmp_path), free_port()

    def ask(name: str, host: str, *options: str) -> str:
        command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-servername", name, *options]
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        command += ["-CAfile", str(tmp_path / "c"), "-verify_return_error"]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.split(" ")[1] if done.stdout.startswith("HTTP/1.1 ") else "refused"

    try:
        world.apply(secret + "\n---\n" + documents.replace("PORT", str(port)))
        until("the shop answers", lambda: ask("shop.example", "shop.example") == "200")
        assert ask("shop.example", "a.other.example") == "421"
        assert ask("shop.example", "nowhere.example") == "404"
        assert ask("a.other.example", "b.other.example") == "200"
        assert ask("a.other.example", "shop.example") == "421"
        assert ask("a.other.example", "a.other.example", "-tls1_2") == "200"
        assert ask("a.other.example", "a.other.example", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256") == "refused"
        assert ask("shop.example", "shop.example", "-tls1_2") == "refused"
    finally:
        world.weft("delete", "httproute", "shop", "--wait", check=False)
        world.apply(PLAIN_GATEWAY)
        world.weft("delete", "secret", "shop", "--wait", check=False)


def test_no_secret_in_any_dump(world: Mesh, tmp_path: Path) -> None:
    secret, port = certificate_secret(tmp_path), free_port()
    body = "".join((tmp_path / "k").read_text().splitlines()[1:-1])[20:60]
    gateway = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: https, port: PORT, protocol: HTTPS, hostname: shop.example, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: front, sectionName: https}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""
    try:
        world.apply(secret + "\n---\n" + gateway.replace("PORT", str(port)))

        def page() -> bool:
            context = tls_context(str(tmp_path / "c"))
            with (
                socket.create_connection(("127.0.0.1", port), 5) as raw,
                context.wrap_socket(raw, server_hostname="shop.example") as tls,
            ):
                tls.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                return tls.recv(50).startswith(b"HTTP/1.1 200")

        until("HTTPS with the Secret's certificate", page)
        for words in (
            ["get", "secrets", "-o", "yaml"],
            ["get", "secret", "shop", "-o", "json"],
            ["proxy", "config", "front", "secrets", "-o", "json"],
            ["proxy", "config", "front", "all", "-o", "json"],
        ):
            shown = world.weft(*words).stdout.replace("\\n", "").replace("\n", "")
            assert shown.strip()
            assert "PRIVATE KEY" not in shown
            assert body not in shown
        for log in world.logs.iterdir():
            assert "PRIVATE KEY" not in log.read_text()
    finally:
        world.weft("delete", "httproute", "shop", "--wait", check=False)
        world.apply(PLAIN_GATEWAY)
        world.weft("delete", "secret", "shop", "--wait", check=False)


def test_peer_authentication_changes_what_a_port_accepts(world: Mesh, client: Client) -> None:
    address = world.inbound_of("other")
    url = f"http://{address[0]}:{address[1]}/health"

    def plain() -> int:
        direct = Client(timeout=5)
        try:
            return direct(url).status
        except (OSError, Exception):
            return 0
        finally:
            direct.close()

    policy = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: other}
spec: {selector: {matchLabels: {app: other}}, mtls: {mode: %s}}
"""
    assert plain() == 0
    with world.applied(policy % "PERMISSIVE"):
        until("plaintext is let in", lambda: plain() == 200)
        assert client("http://other/").status == 200
    with world.applied(policy % "DISABLE"):
        until("plaintext is let in", lambda: plain() == 200)
        until("callers use plaintext", lambda: client("http://other/").status == 200)
    until("plaintext is refused again", lambda: plain() == 0)
    until("callers use TLS again", lambda: client("http://other/").status == 200)


def test_the_admin_api_wants_its_token_and_no_browser(world: Mesh) -> None:
    admin = world.endpoints()["admin"]
    token = (world.home / "control-plane" / "admin.token").read_text().strip()
    direct = Client()
    good = {"Authorization": f"Bearer {token}"}
    assert direct(f"{admin}/v1/documents", headers=good).status == 200
    assert direct(f"{admin}/v1/documents").status == 401
    assert direct(f"{admin}/v1/documents", headers={"Authorization": "Bearer wrong"}).status == 401
    assert direct(f"{admin}/v1/documents", headers={**good, "Origin": "https://evil.example"}).status == 403
    assert direct(f"{admin}/v1/documents", headers={**good, "Host": "evil.example"}).status in (400, 403, 421)


def test_envoy_admin_is_a_private_socket(world: Mesh) -> None:
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
    for name in ("client", "echo-v1", "front"):
        workload = world.workload(name)
        known = {workload["outbound"]["port"]} if workload.get("outbound") else set()
        known |= {port["inbound"]["port"] for port in workload["ports"]}
        if workload.get("gateway"):
            known |= {address["port"] for _, address in workload["gateway"]["ports"]}
        directory = world.home / "workloads/default" / name
        pid = json.loads((directory / "state.json").read_text())["envoy"]["pid"]
        own = {int(line.split()[3].rsplit(":", 1)[1]) for line in listening if f"pid={pid}," in line}
        assert own
        assert own <= known, "nothing but listeners of the mesh is on TCP"
        admin = Home(world.home).socket(directory / "admin.sock")
        assert admin.is_socket()
        assert not admin.stat().st_mode & 0o077
