"""cert-manager itself signs the mesh's intermediate: its controllers and its webhook, with the rights of its chart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from tools.kubernetes_access import ClusterError

from support.cert_manager import ISSUERS, CertManager
from support.chart import NAMESPACE
from support.http import Client
from support.kubernetes import service
from support.mesh import Mesh, until
from weft.ca.authority import Authority, open_authority
from weft.ca.protocol import AuthorityError
from weft.ca.upstream import first_from
from weft.controlplane.cluster_authority import ClusterAuthority, ClusterAuthoritySettings, RootsPlace
from weft.controlplane.upstream import UpstreamKeeper
from weft.settings.home import Home
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.polling import eventually

pytestmark = pytest.mark.timeout(600)
DOMAIN = "cluster.local"
DAY = 86400.0
ROOTS = RootsPlace("roots", NAMESPACE)


def asked(kubeconfig: Path, issuer: str = "", signer: str = "", roots: RootsPlace = ROOTS) -> ClusterAuthority:
    settings = ClusterAuthoritySettings(roots, signer=signer, issuer=issuer, namespace=NAMESPACE, life=30 * DAY)
    return ClusterAuthority(settings, Credentials(KubeconfigFile(str(kubeconfig)).access), 120.0)


def requests(manager: CertManager) -> list[str]:
    """The names of those that are there."""
    found = json.loads(manager.cluster.kubectl("get", "certificaterequests", "-n", NAMESPACE, "-o", "json"))
    return [one["metadata"]["name"] for one in found["items"]]


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("issuer", list(ISSUERS))
def test_a_mesh_of_hosts_has_certificates_below_its_root(
    manager: CertManager, weft: Path, issuer: str, tmp_path: Path
) -> None:
    """A control plane with no more rights than its chart gives it; openssl says to whom the certificates lead."""
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    root = manager.roots["root"]
    manager.apply(service("front", "default"), service("back", "default"))
    try:
        place = f"configmap/{NAMESPACE}/roots"
        mesh.serve("--kubeconfig", str(weft), "--ca-issuer", issuer, "--ca-roots", place, "--ca-days", "30")
        for name in ("front", "back"):
            mesh.echo(name)
        client = Client(mesh.proxy_of("front"))
        until("a call arrives by mutual TLS", lambda: client("http://back/").status == 200)
        certs = Home(mesh.home).workload("default", "front") / "certs" / "..data"
        assert (certs / "bundle.pem").read_text().split() == root.read_text().split()
        chain = str(certs / "chain.pem")
        assert openssl("verify", "-x509_strict", "-CAfile", str(root), "-untrusted", chain, chain).endswith(": OK\n")
        above = x509.load_pem_x509_certificates((certs / "chain.pem").read_bytes())[1]
        assert above.issuer == x509.load_pem_x509_certificate(root.read_bytes()).subject
        life = above.not_valid_after_utc - above.not_valid_before_utc
        assert life.total_seconds() == pytest.approx(30 * DAY, abs=3600)
    finally:
        mesh.stop()
    assert not requests(manager)


async def test_an_intermediate_is_renewed_and_another_root_begins_a_rotation(
    manager: CertManager, tmp_path: Path
) -> None:
    secret = f"{NAMESPACE}/changing"
    first = manager.root("first", secret, config_map="changing")
    manager.issuer("Issuer", "changing", "changing")
    authority = asked(manager.cluster.kubeconfig("admin"), "Issuer/changing", roots=RootsPlace("changing", NAMESPACE))
    await first_from(authority, tmp_path / "ca", DOMAIN, authority.life)
    mesh = open_authority(tmp_path / "ca", DOMAIN)
    before = issuer_of(mesh)
    ahead, looks = 0.0, 0

    async def soon(_: float) -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.2)

    keeper = UpstreamKeeper(authority, mesh, authority.life, clock=lambda: time.time() + ahead, sleep=soon)
    task = asyncio.create_task(keeper.run())
    try:
        await eventually("it has looked", lambda: task.done() or looks > 1)
        assert issuer_of(mesh) == before
        ahead = 16 * DAY
        await eventually("it is renewed at half its life", lambda: issuer_of(mesh) != before)
        assert list(mesh.roots) == [x509.load_pem_x509_certificate(first.read_bytes())]
        ahead = 0.0
        second = manager.root("second", secret, config_map="changing")
        await eventually("both roots are trusted", lambda: len(mesh.roots) == 2)
        assert x509.load_pem_x509_certificate(second.read_bytes()) in mesh.roots
        assert mesh.rotation.phase == "trusting"
        assert not keeper.problems()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def issuer_of(mesh: Authority) -> x509.Certificate:
    return mesh.generations[mesh.rotation.target].issuer.certificate


async def test_an_issuer_that_is_not_there_is_told_and_waited_for(
    manager: CertManager, weft: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = asked(weft, "ClusterIssuer/mesh-of-tomorrow")
    waits = asyncio.create_task(first_from(authority, tmp_path / "ca", DOMAIN, authority.life))
    await eventually("nobody may approve it", lambda: "yet: nobody has approved it" in caplog.text)
    judge(manager, requests(manager), "Approved")
    await eventually("it is told", lambda: 'yet: Ready: Referenced "ClusterIssuer" not found' in caplog.text)
    assert '"mesh-of-tomorrow" not found' in caplog.text
    await asyncio.to_thread(manager.issuer, "ClusterIssuer", "mesh-of-tomorrow", "mesh")
    await waits
    assert list(open_authority(tmp_path / "ca", DOMAIN).roots) == [
        x509.load_pem_x509_certificate(manager.roots["root"].read_bytes())
    ]


def judge(manager: CertManager, names: list[str], verdict: str, *more: str) -> None:
    """As ``cmctl approve`` and ``cmctl deny`` write it, as the administrator."""
    (name,) = names
    condition = {"type": verdict, "status": "True", "reason": "Person", "message": "no authorities on Fridays"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    how = ("--subresource=status", "--type=merge", "-p", patch)
    manager.cluster.kubectl("patch", "certificaterequest", name, "-n", NAMESPACE, *how, *more)


async def test_a_request_that_is_denied(manager: CertManager, weft: Path, tmp_path: Path) -> None:
    manager.issuer("ClusterIssuer", "guarded", "mesh")
    authority = asked(weft, "ClusterIssuer/guarded")
    waits = asyncio.create_task(first_from(authority, tmp_path / "ca", DOMAIN, authority.life))
    judge(manager, await eventually("there is one", lambda: requests(manager)), "Denied")
    with pytest.raises(AuthorityError, match="ClusterIssuer/guarded: Denied: no authorities on Fridays"):
        await waits
    assert not requests(manager)


async def test_who_may_not_approve_is_refused_by_its_webhook(manager: CertManager, weft: Path, tmp_path: Path) -> None:
    """It is in force, and says who asked; so weft needs no right to approve, and one to write status is not enough."""
    manager.issuer("ClusterIssuer", "guarded", "mesh")
    rule = {"apiGroups": ["cert-manager.io"], "verbs": ["get", "patch"]}
    other = manager.cluster.account(
        "other", [{**rule, "resources": [f"certificaterequests{part}" for part in ("", "/status")]}]
    )
    authority = asked(weft, "ClusterIssuer/guarded")
    waits = asyncio.create_task(first_from(authority, tmp_path / "ca", DOMAIN, authority.life))
    try:
        names = await eventually("there is one", lambda: requests(manager))
        about = manager.cluster.kubectl("get", "certificaterequest", *names, "-n", NAMESPACE, "-o", "json")
        assert json.loads(about)["spec"]["username"] == f"system:serviceaccount:{NAMESPACE}:weft"
        with pytest.raises(ClusterError, match="does not have permissions to set approved/denied conditions"):
            judge(manager, names, "Approved", "--kubeconfig", str(other))
    finally:
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_its_signer_of_kubernetes_own_requests(manager: CertManager, tmp_path: Path) -> None:
    """``--ca-signer``: cert-manager answers CertificateSigningRequests, too."""
    authority = asked(manager.cluster.kubeconfig("admin"), signer="clusterissuers.cert-manager.io/mesh")
    await first_from(authority, tmp_path / "ca", DOMAIN, authority.life)
    mesh = open_authority(tmp_path / "ca", DOMAIN)
    assert issuer_of(mesh).issuer == mesh.roots[0].subject
    left = issuer_of(mesh).not_valid_after_utc.timestamp() - time.time()
    assert left == pytest.approx(30 * DAY, abs=3600)
