"""The SPIFFE Workload API of a running workload, asked by the client that applications use (`spiffe` on PyPI)."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from spiffe import TrustDomain, WorkloadApiClient
from spiffe.errors import PySpiffeError
from spiffe.workloadapi.errors import WorkloadApiError

from e2e.test_secure import try_tls
from support.http import Client
from support.mesh import Mesh, until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
ID = "spiffe://cluster.local/ns/default/sa/echo"
OWN = TrustDomain("cluster.local")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("workload-api")
    mesh = Mesh(root / "home", root / "logs")
    try:
        ports = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0")
        mesh.serve(*ports, "--certificate-ttl", "20")
        mesh.apply(SERVICE)
        mesh.echo("echo-v1", app="echo")
        yield mesh
    finally:
        mesh.stop()


def environment_of(mesh: Mesh, name: str) -> dict[str, str]:
    """The variables that the application was started with."""
    pid = mesh.state(name)["application"]["pid"]
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@pytest.fixture
def address(mesh: Mesh) -> str:
    return environment_of(mesh, "echo-v1")["SPIFFE_ENDPOINT_SOCKET"]


@pytest.fixture
def client(address: str) -> Iterator[WorkloadApiClient]:
    with WorkloadApiClient(socket_path=address) as client:
        yield client


def test_the_application_has_its_workloads_identity_with_a_key_of_its_own(
    mesh: Mesh, client: WorkloadApiClient, tmp_path: Path
) -> None:
    svid = client.fetch_x509_svid()
    assert str(svid.spiffe_id) == ID
    key = svid.private_key.public_key()
    assert key == svid.leaf.public_key()
    mine = mesh.home / "workloads/default/echo-v1/certs/..data/chain.pem"
    assert key != x509.load_pem_x509_certificates(mine.read_bytes())[0].public_key()
    context = client.fetch_x509_context()
    roots = context.x509_bundle_set.get_bundle_for_trust_domain(OWN)
    assert roots is not None
    (root,) = roots.x509_authorities
    assert root == x509.load_pem_x509_certificate((mesh.home / "control-plane/trust-bundle.pem").read_bytes())
    # with it the application calls the workload's own port as any other proxy does, and is who it says
    svid.save(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"), serialization.Encoding.PEM)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(mesh.home / "control-plane/trust-bundle.pem")
    tls.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert try_tls(mesh.inbound_of("echo-v1"), tls, "http/1.1") == "TLSv1.3"
    # but it is no proxy: xDS and the agent API do not know it
    host, port = mesh.endpoints()["xds"].rsplit(":", 1)
    with grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(
        (mesh.home / "control-plane/trust-bundle.pem").read_bytes(),
        (tmp_path / "key.pem").read_bytes(), (tmp_path / "chain.pem").read_bytes(),
    ), [("grpc.ssl_target_name_override", "localhost")]) as channel:  # fmt: skip
        call: Any = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        )
        with pytest.raises(grpc.RpcError) as refused:
            list(call(iter([b""]), timeout=10))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_svids_are_pushed_when_they_are_renewed(client: WorkloadApiClient) -> None:
    seen: list[x509.Certificate] = []
    two = threading.Event()

    def take(context: object) -> None:
        seen.append(context.default_svid.leaf)  # type: ignore[attr-defined]
        if len(seen) >= 2:
            two.set()

    stream = client.stream_x509_contexts(take, lambda error: None)
    try:
        assert two.wait(60), "no second certificate"
    finally:
        stream.cancel()
    assert seen[0].serial_number != seen[1].serial_number
    assert seen[0].public_key() != seen[1].public_key()


def test_tokens_are_signed_and_checked(mesh: Mesh, client: WorkloadApiClient) -> None:
    token = client.fetch_jwt_svid({"there", "elsewhere"})
    assert (str(token.spiffe_id), token.audience) == (ID, {"there", "elsewhere"})
    assert str(client.validate_jwt_svid(token.token, "there").spiffe_id) == ID
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(OWN)
    assert keys is not None
    assert keys.get_jwt_authority(token_kid(token.token)) is not None
    for wrong in (token.token[:-4] + "AAAA", token.token.replace(".", "..", 1)):
        with pytest.raises(WorkloadApiError):
            client.validate_jwt_svid(wrong, "there")
    with pytest.raises(WorkloadApiError, match="audience"):
        client.validate_jwt_svid(token.token, "nobody")
    for log in mesh.home.rglob("*.log"):
        assert token.token not in log.read_text(errors="replace")


def token_kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_who_does_not_say_that_it_means_this_api_is_refused(address: str) -> None:
    with grpc.insecure_channel(address.replace("unix://", "unix:")) as channel:
        for method in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"):
            call: Any = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")
            for metadata in ((), (("workload.spiffe.io", "false"),), (("workload.spiffe.io", "true"),) * 2):
                with pytest.raises(grpc.RpcError) as refused:
                    list(call(b"", metadata=metadata, timeout=10))
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for method in ("FetchJWTSVID", "ValidateJWTSVID"):
            one: Any = channel.unary_unary(f"/SpiffeWorkloadAPI/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                one(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        header = (("workload.spiffe.io", "true"),)
        another = b"\x0a\x01a\x12\x2c" + b"spiffe://cluster.local/ns/default/sa/another"
        for request, code in (
            (another, grpc.StatusCode.PERMISSION_DENIED),
            (b"", grpc.StatusCode.INVALID_ARGUMENT),
            (b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT),
            (b"\x0a\x01a" * 9, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            one = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
            with pytest.raises(grpc.RpcError) as refused:
                one(request, metadata=header, timeout=10)
            assert refused.value.code() is code, request


def test_another_user_of_the_host_is_refused(address: str) -> None:
    """Root opens the way to the socket, which the directory and its mode bar to others; the peer's uid still counts."""
    path = Path(address.removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    if os.geteuid():
        return  # who is not root cannot be another user; test_front.py has the refusal
    # the descriptor is opened by root, and used under another uid: SO_PEERCRED is that of the moment of connect
    script = (
        "import os, socket, sys\n"
        "os.chdir(os.path.dirname(sys.argv[1])); os.seteuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect('workload.sock')\nexcept PermissionError:\n    print('closed'); sys.exit()\n"
        "print('open' if s.recv(1) else 'closed')\n"
    )
    words = [sys.executable, "-c", script, str(path)]
    try:
        for mode in (0o600, 0o666):
            path.chmod(mode)
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
            assert done.stdout.strip() == "closed"
    finally:
        path.chmod(0o600)


def test_a_socket_that_nobody_uses_costs_no_grpc(mesh: Mesh) -> None:
    mesh.run("idle", [sys.executable, "-c", "import time; time.sleep(600)"], port="")
    pid = mesh.state("idle")["agent"]["pid"]
    assert "grpc" not in Path(f"/proc/{pid}/maps").read_text()
    address = environment_of(mesh, "idle")["SPIFFE_ENDPOINT_SOCKET"]
    with WorkloadApiClient(socket_path=address) as client:
        assert str(client.fetch_x509_svid().spiffe_id).endswith("/sa/idle")
    assert "grpc" in Path(f"/proc/{pid}/maps").read_text()
    assert mesh.processes["idle"].stop() == 143
    assert not Path(address.removeprefix("unix://")).exists()


def test_the_agent_may_be_replaced(mesh: Mesh, address: str) -> None:
    path = Path(address.removeprefix("unix://"))
    before = path.stat().st_ctime_ns  # its inode may get the same number again
    os.kill(mesh.state("echo-v1")["agent"]["pid"], 1)  # SIGHUP: it is executed anew, and the application goes on
    until("the agent is back", lambda: path.stat().st_ctime_ns != before and answers(address))


def answers(address: str) -> bool:
    try:
        with WorkloadApiClient(socket_path=address) as client:
            return str(client.fetch_x509_svid().spiffe_id) == ID
    except PySpiffeError:
        return False


OWN_TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules: [{issuer: "spiffe://cluster.local", audiences: [echo]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  rules: [{from: [{source: {requestPrincipals: ["spiffe://cluster.local/PRINCIPAL"]}}]}]
"""


def test_a_service_demands_tokens_of_the_meshs_own(mesh: Mesh, client: WorkloadApiClient) -> None:
    call = Client(mesh.proxy_of("echo-v1"))

    def status(token: str = "") -> int:
        return call("http://echo/", headers={"Authorization": f"Bearer {token}"} if token else {}).status

    assert status() == 200
    with mesh.applied(OWN_TOKENS.replace("PRINCIPAL", ID)):
        good = client.fetch_jwt_svid({"echo"}).token
        until("the token of the application lets it in", lambda: status(good) == 200)
        assert status() == 403
        assert status(client.fetch_jwt_svid({"another"}).token) == 403
        head, body, signature = good.split(".")
        assert status(f"{head}.{body}.{signature[:-6]}AAAAAA") == 401
    with mesh.applied(OWN_TOKENS.replace("PRINCIPAL", "spiffe://cluster.local/ns/default/sa/other")):
        until("it is for somebody else", lambda: status(client.fetch_jwt_svid({"echo"}).token) == 403)
    assert not [one for one in mesh.problems() if one["code"].startswith("keys-")]
