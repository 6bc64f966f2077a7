"""Two meshes that trust each other: who is let in, and everybody who is not. Real control planes, real Envoys."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import ipaddress
import json
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from spiffe import TrustDomain, WorkloadApiClient
from spiffe.workloadapi.errors import WorkloadApiError

from e2e.test_secure import files_of
from support.mesh import Mesh, until
from weft.ca.authority import open_authority
from weft.ca.certificates import Signer, Validity, build_root, certificate_pem, key_pem, new_key
from weft.model.bundles import TrustBundle, bundle_to_json

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
CONTROL_PLANE = "ns/weft-system/sa/weft-control-plane"


@dataclass
class Sides:
    """Mesh A, whose endpoint proves a SPIFFE ID, and mesh B, whose endpoint has a web server's certificate."""

    a: Mesh
    b: Mesh

    def document_in_a(self) -> str:
        return document("b.test", self.b.endpoints()["bundle"], "{type: https_web}")

    def document_in_b(self) -> str:
        profile = f"{{type: https_spiffe, endpointSPIFFEID: 'spiffe://a.test/{CONTROL_PLANE}'}}"
        first = self.a.weft("federation", "bundle").stdout
        return document("a.test", self.a.endpoints()["bundle"], profile, first)


def document(domain: str, url: str = "", profile: str = "", bundle: str = "") -> str:
    spec = {"trustDomain": domain}
    lines = [f"  {name}: {value}" for name, value in spec.items()]
    if url:
        lines += [f"  bundleEndpointURL: {url}", f"  bundleEndpointProfile: {profile}"]
    if bundle:
        lines.append(f"  trustDomainBundle: {json.dumps(bundle)}")
    head = "apiVersion: weft.dev/v1alpha1\nkind: FederatedTrustDomain\n"
    return f"{head}metadata: {{name: {domain}, namespace: istio-system}}\nspec:\n" + "\n".join(lines) + "\n"


def web_certificate(directory: Path) -> None:
    """``web-ca.pem``, an authority that machines may trust, and a certificate of it for 127.0.0.1 with its key."""

    now = time.time()
    authority = build_root("web.test", Validity(now - 60, now + 86400))
    key = new_key()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(now - 60, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(now + 3600, datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    paths = directory / "web-ca.pem", directory / "web.pem", directory / "web.key"
    for path, text in zip(
        paths, (certificate_pem(authority.certificate), certificate_pem(leaf), key_pem(key)), strict=True
    ):
        path.write_text(text)
        path.chmod(0o600)


PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0")
FEDERATION = ("--bundle-endpoint", "127.0.0.1:0", "--bundle-network", "127.0.0.0/8")


def serve_a(mesh: Mesh) -> None:
    """It trusts the authority of B's web certificate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(mesh.home.parent / "web-ca.pem"))
        mesh.serve(*PORTS, *FEDERATION, "--trust-domain", "a.test")


def serve_b(mesh: Mesh) -> None:
    root = mesh.home.parent
    web = ("--bundle-certificate", str(root / "web.pem"), "--bundle-key", str(root / "web.key"))
    mesh.serve(*PORTS, *FEDERATION, *web, "--trust-domain", "b.test")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    root = tmp_path_factory.mktemp("federation")
    a, b = Mesh(root / "a", root / "a-logs"), Mesh(root / "b", root / "b-logs")
    web_certificate(root)
    try:
        serve_a(a)
        serve_b(b)
        for mesh in (a, b):
            mesh.apply(SERVICE)
            mesh.echo("echo-v1", app="echo")
            mesh.echo("client", app="client")
        yield Sides(a, b)
    finally:
        a.stop()
        b.stop()


@pytest.fixture
def federated(sides: Sides) -> Iterator[Sides]:
    with sides.a.applied(sides.document_in_a()), sides.b.applied(sides.document_in_b()):
        for mesh in (sides.a, sides.b):
            until("the bundle is there", lambda: states(mesh) == ["trusted"])  # noqa: B023
        until("A takes callers of B", lambda: ask(sides.a, own_files(sides.b, "client"))[0] == 200)
        until("B takes callers of A", lambda: ask(sides.b, own_files(sides.a, "client"))[0] == 200)
        yield sides


def states(mesh: Mesh) -> list[str]:
    found = json.loads(mesh.weft("federation", "list", "-o", "json").stdout)
    return [one["state"] for one in found["domains"]]


Files = tuple[str, str]
"""A certificate chain and its key."""


def own_files(mesh: Mesh, workload: str) -> Files:
    chain, key = files_of(mesh, workload)
    return str(chain), str(key)


class Caller:
    """A connection to echo-v1 of a mesh, with a certificate."""

    def __init__(self, mesh: Mesh, files: Files) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.load_verify_locations(mesh.home / "control-plane/trust-bundle.pem")
        tls.load_cert_chain(*files)
        tls.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(mesh.inbound_of("echo-v1"), 10)
        self._connection = http.client.HTTPConnection("echo")
        self._connection.sock = tls.wrap_socket(plain)

    def ask(self) -> tuple[int, str]:
        """Status and what the application was told of the caller; (0, why) if the connection is closed."""
        try:
            self._connection.request("GET", "/", headers={"Host": "echo"})
            answer = self._connection.getresponse()
            text = answer.read()
            body = json.loads(text) if answer.status == 200 else {"headers": []}
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        told = [value for name, value in body["headers"] if name.lower() == "x-forwarded-client-cert"]
        return answer.status, "".join(told)

    def close(self) -> None:
        self._connection.close()


def ask(mesh: Mesh, files: Files) -> tuple[int, str]:
    """One request over a connection of its own."""
    try:
        with contextlib.closing(Caller(mesh, files)) as caller:
            return caller.ask()
    except OSError as error:
        return 0, repr(error)


def issuer_of(mesh: Mesh, directory: Path) -> tuple[Signer, str]:
    """What mesh signs with, stolen, and its chain."""
    place = directory / f"stolen-{mesh.home.name}"
    if not place.exists():
        shutil.copytree(mesh.home / "control-plane/ca", place)
    domain = f"{mesh.home.name}.test"
    issuer = open_authority(place, domain)._signing.issuer
    return issuer, certificate_pem(issuer.certificate)


def forged(directory: Path, name: str, issuer: Signer, chain: str, *names: x509.GeneralName) -> Files:
    """A leaf with these names, in the form of an SVID."""
    key = new_key()
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_text(certificate_pem(leaf) + chain)
    paths[1].write_text(key_pem(key))
    return str(paths[0]), str(paths[1])


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def test_without_a_document_nobody_of_another_domain_gets_in(sides: Sides) -> None:
    assert ask(sides.a, own_files(sides.a, "client"))[0] == 200
    until("A takes none", lambda: ask(sides.a, own_files(sides.b, "client"))[0] == 0)
    until("B takes none", lambda: ask(sides.b, own_files(sides.a, "client"))[0] == 0)


def test_callers_of_both_domains_get_in_each_by_its_own_name(federated: Sides) -> None:
    for mesh, other in ((federated.a, federated.b), (federated.b, federated.a)):
        own, foreign = (f"spiffe://{one.home.name}.test/ns/default/sa/client" for one in (mesh, other))
        status, told = ask(mesh, own_files(mesh, "client"))
        assert (status, f"URI={own}" in told) == (200, True)
        status, told = ask(mesh, own_files(other, "client"))
        assert (status, f"URI={foreign}" in told, "URI=" + own in told) == (200, True, False)


def test_a_document_that_the_other_side_prints_is_enough(sides: Sides) -> None:
    with sides.b.applied(sides.a.weft("federation", "bundle", "--document").stdout):
        until("B takes callers of A", lambda: ask(sides.b, own_files(sides.a, "client"))[0] == 200)
        assert "a.test" in sides.b.weft("federation", "list").stdout
    keys = json.loads(sides.a.weft("federation", "bundle", "--keys").stdout)["keys"]
    assert [key["alg"] for key in keys] == ["ES256"]


def test_a_root_vouches_for_no_other_domain(federated: Sides, tmp_path: Path) -> None:
    a, b = issuer_of(federated.a, tmp_path), issuer_of(federated.b, tmp_path)
    ours, theirs = "spiffe://a.test/ns/default/sa/admin", "spiffe://b.test/ns/default/sa/admin"
    refused = {
        "B's root for A": forged(tmp_path, "1", *b, uri(ours)),
        "A's root for B": forged(tmp_path, "2", *a, uri(theirs)),
        "another domain": forged(tmp_path, "3", *b, uri("spiffe://c.test/ns/default/sa/admin")),
        "no identity": forged(tmp_path, "4", *b, x509.DNSName("b.test")),
        # Envoy chooses the roots by the first name; whoever reads names after it sees all of them
        "a name of A behind one of B": forged(tmp_path, "5", *b, uri(theirs), uri(ours)),
        "a name of A before one of B": forged(tmp_path, "6", *b, uri(ours), uri(theirs)),
        "a DNS name like one of A": forged(tmp_path, "7", *b, uri(theirs), x509.DNSName(ours)),
        "a look-alike": forged(tmp_path, "8", *b, uri("spiffe://b.test.evil/ns/default/sa/admin")),
        "capitals": forged(tmp_path, "9", *b, uri("spiffe://B.test/ns/default/sa/admin")),
    }
    for what, files in refused.items():
        assert ask(federated.a, files)[0] == 0, what
    honest = forged(tmp_path, "10", *b, uri(theirs))
    assert ask(federated.a, honest)[0] == 200
    own = forged(tmp_path, "11", *a, uri(ours))
    assert ask(federated.a, own)[0] == 200


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  rules: [{from: [{source: {principals: [PRINCIPAL]}}]}]
"""


def test_policies_name_callers_of_the_other_domain(federated: Sides, tmp_path: Path) -> None:
    foreign, own = own_files(federated.b, "client"), own_files(federated.a, "client")
    issuer = issuer_of(federated.b, tmp_path)
    another = forged(tmp_path, "another", *issuer, uri("spiffe://b.test/ns/default/sa/another"))
    hidden = uri("spiffe://a.test/ns/default/sa/client")
    two = forged(tmp_path, "two", *issuer, uri("spiffe://b.test/ns/default/sa/another"), hidden)
    with federated.a.applied(POLICY.replace("PRINCIPAL", "b.test/ns/default/sa/client")):
        until("the own client is shut out", lambda: ask(federated.a, own)[0] != 200)
        assert ask(federated.a, foreign)[0] == 200
        assert ask(federated.a, another)[0] != 200
    with federated.a.applied(POLICY.replace("PRINCIPAL", "a.test/ns/default/sa/client")):
        until("the foreign client is shut out", lambda: ask(federated.a, foreign)[0] != 200)
        assert ask(federated.a, own)[0] == 200
        for files in (another, two):
            assert ask(federated.a, files)[0] != 200


def test_a_root_that_has_ended_vouches_for_nobody(sides: Sides, tmp_path: Path) -> None:
    now = time.time()
    ended = build_root("c.test", Validity(now - 86400, now - 3600))
    good = build_root("d.test", Validity(now - 86400, now + 3600))
    texts = "---\n".join(
        document(name, bundle=bundle_to_json(TrustBundle(name, (certificate_pem(root.certificate),))))
        for name, root in (("c.test", ended), ("d.test", good))
    )
    with sides.a.applied(texts):
        fine = forged(tmp_path, "d", good, "", uri("spiffe://d.test/x/y"))
        until("D is trusted", lambda: ask(sides.a, fine)[0] == 200)
        assert ask(sides.a, forged(tmp_path, "c", ended, "", uri("spiffe://c.test/x/y")))[0] == 0
        assert "trust-bundle-expired" in [one["code"] for one in sides.a.problems()]


def test_applications_know_the_other_domain_and_check_its_tokens(federated: Sides) -> None:
    ours, theirs = (socket_of(mesh, "client") for mesh in (federated.a, federated.b))
    with WorkloadApiClient(socket_path=ours) as here, WorkloadApiClient(socket_path=theirs) as there:
        bundles = here.fetch_x509_context().x509_bundle_set
        found = bundles.get_bundle_for_trust_domain(TrustDomain("b.test"))
        assert found is not None
        (root,) = found.x509_authorities
        assert root == x509.load_pem_x509_certificate(
            (federated.b.home / "control-plane/trust-bundle.pem").read_bytes()
        )
        token = there.fetch_jwt_svid({"shop"}).token
        assert str(here.validate_jwt_svid(token, "shop").spiffe_id) == "spiffe://b.test/ns/default/sa/client"
        with pytest.raises(WorkloadApiError):
            here.validate_jwt_svid(token, "another")
        federated.a.delete(federated.document_in_a())
        until("its tokens are refused", lambda: refuses(here, token))
        federated.a.apply(federated.document_in_a())


def refuses(client: WorkloadApiClient, token: str) -> bool:
    try:
        client.validate_jwt_svid(token, "shop")
    except WorkloadApiError as error:
        return "not trusted" in str(error)
    return False


def socket_of(mesh: Mesh, workload: str) -> str:
    return f"unix://{mesh.home}/workloads/default/{workload}/workload.sock"


def test_traffic_tells_callers_of_the_same_name_apart(federated: Sides) -> None:
    own, foreign = own_files(federated.a, "client"), own_files(federated.b, "client")
    for _ in range(5):
        assert ask(federated.a, foreign)[0] == 200
    assert ask(federated.a, own)[0] == 200

    def seen() -> bool:
        found = json.loads(federated.a.weft("edges", "-o", "json").stdout)
        counts = {
            one["source"]: one["requests"] for one in found if one["destination"] == "default/echo" and one["mtls"]
        }
        return bool(counts.get("", 0) >= 5 and counts.get("default/client", 0) > 0)

    until("the edges are there", seen)


def test_trust_that_is_taken_back_ends_connections(federated: Sides) -> None:
    foreign, own = own_files(federated.b, "client"), own_files(federated.a, "client")
    with contextlib.closing(Caller(federated.a, foreign)) as kept:
        assert kept.ask()[0] == 200
        federated.a.delete(federated.document_in_a())
        until("new connections are refused", lambda: ask(federated.a, foreign)[0] == 0)
        until("the old connection is closed", lambda: kept.ask()[0] == 0)
        assert ask(federated.a, own)[0] == 200
        federated.a.apply(federated.document_in_a())


def test_a_bundle_outlasts_its_endpoint_and_a_restart(federated: Sides) -> None:
    foreign = own_files(federated.b, "client")
    federated.b.processes["control-plane"].stop()
    federated.a.processes["control-plane"].stop(9)
    serve_a(federated.a)
    until("the bundle of before is in force", lambda: states(federated.a) in (["trusted"], ["stale"]))
    until("callers of B get in", lambda: ask(federated.a, foreign)[0] == 200)
    serve_b(federated.b)
