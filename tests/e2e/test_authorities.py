"""Meshes whose root somebody else holds: an offline root and its successor, files of the user, a real Vault."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from e2e.conftest import SERVICES
from e2e.test_continuity import PORTS, blocking, start, under_load
from e2e.test_root_rotation import LEASE, ca, everywhere, held, phase
from support.http import Client
from support.mesh import Mesh, until
from support.vault import vault_program
from weft.settings.home import Home

EXTENSIONS = """
[issuer]
basicConstraints = critical,CA:true,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectAltName = URI:spiffe://cluster.local
subjectKeyIdentifier = hash
"""


class OfflineRoot:
    """A root that is kept elsewhere, with openssl, as an operator has it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "extensions").write_text(EXTENSIONS)
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "root.key")
        subject = f"/O=Example/CN={directory.name}"
        self.openssl("req", "-x509", "-new", "-key", "root.key", "-subj", subject, "-days", "3650", "-out", "root.pem")

    def openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def sign(self, csr: str) -> None:
        """As `chain.pem`."""
        (self.directory / "issuer.csr").write_text(csr)
        request = ("-req", "-in", "issuer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial")
        extensions = ("-extfile", "extensions", "-extensions", "issuer")
        self.openssl("x509", *request, *extensions, "-days", "365", "-sha256", "-out", "chain.pem")

    @property
    def files(self) -> tuple[str, ...]:
        return str(self.directory / "chain.pem"), "--root", str(self.directory / "root.pem")


def test_an_offline_root_from_the_first_start_and_its_successor(mesh: Mesh, tmp_path: Path) -> None:
    first, second = OfflineRoot(tmp_path / "first"), OfflineRoot(tmp_path / "second")
    first.sign(mesh.weft("ca", "csr").stdout)
    waits = mesh.weft("serve", *PORTS, check=False)
    assert waits.returncode == 1
    assert "waits for the answer to its request: weft ca install" in waits.stderr
    assert "the control plane uses it from its start on" in mesh.weft("ca", "install", *first.files).stdout
    start(mesh, *LEASE)
    everywhere(mesh, (first.directory / "root.pem").read_text())
    told = mesh.weft("ca", "rotate", check=False)
    assert told.returncode == 1
    assert "weft did not make this mesh's root" in told.stderr

    def succeed() -> None:
        second.sign(mesh.weft("ca", "csr").stdout)
        mesh.weft("ca", "install", *second.files, "--wait", "--timeout", "120", timeout=150)

    async def during() -> None:
        await blocking(succeed)

    load = under_load(mesh, during)
    assert not load.failures, (load.statuses, load.failures[:5])
    everywhere(mesh, (second.directory / "root.pem").read_text())
    [root] = ca(mesh, "status")["roots"]
    assert root["made_by_weft"] is False
    assert "PRIVATE KEY" not in (Home(mesh.home).ca / "root-2.pem").read_text()


def test_files_of_the_user_are_checked_and_take_the_place_of_wefts_own_root(mesh: Mesh, tmp_path: Path) -> None:
    root = OfflineRoot(tmp_path / "user")
    root.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "issuer.key")
    root.openssl("req", "-new", "-key", "issuer.key", "-subj", "/CN=issuer", "-out", "made.csr")
    root.sign((root.directory / "made.csr").read_text())
    key = root.directory / "issuer.key"
    mesh.serve(*PORTS, *LEASE)
    key.chmod(0o644)
    open_to_others = mesh.weft("ca", "install", *root.files, "--key", str(key), check=False)
    assert open_to_others.returncode == 1
    assert f"chmod 600 '{key}'" in open_to_others.stderr
    key.chmod(0o600)
    wrong = mesh.weft("ca", "install", *root.files, "--key", str(root.directory / "root.key"), check=False)
    assert wrong.returncode == 1
    assert "chain.pem: 'CN=issuer' is not the certificate of the key" in wrong.stderr
    mesh.weft("ca", "install", *root.files, "--key", str(key), "--wait")
    assert phase(mesh) == "steady"
    assert Home(mesh.home).trust_bundle.read_text() == (root.directory / "root.pem").read_text()


class VaultProcess:
    """A real Vault core as a process, driven from here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with (directory / "vault.log").open("wb") as log:
            self.process = subprocess.Popen([vault_program(), "0"], stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        address, self.token = self.process.stdout.readline().decode().split()
        self.address = f"http://{address}"
        self.call("sys/mounts/pki", type="pki", config={"max_lease_ttl": "87600h"})
        self.call("pki/root/generate/internal", common_name="example root", ttl="87600h", key_type="ec")
        (directory / "token").write_text(self.token)
        (directory / "token").chmod(0o600)
        settings = f'address = "{self.address}"\ntoken_file = "token"\n'
        (directory / "vault.toml").write_text(settings)

    def call(self, path: str, **body: object) -> Any:
        headers = {"X-Vault-Token": self.token, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/v1/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
        return json.loads(text) if text else {}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[VaultProcess]:
    (tmp_path / "vault").mkdir()
    running = VaultProcess(tmp_path / "vault")
    try:
        yield running
    finally:
        running.stop()


def test_a_mesh_under_a_real_vault_goes_on_without_it(mesh: Mesh, vault: VaultProcess) -> None:
    options = (*LEASE, "--ca-vault", str(vault.directory / "vault.toml"))
    start(mesh, *options)
    chain = x509.load_pem_x509_certificates(held(mesh, "client", "chain.pem").encode())
    assert chain[1].issuer.rfc4514_string() == "CN=example root"
    vault.stop()
    mesh.processes["control-plane"].stop(signal.SIGKILL)
    mesh.serve(*PORTS, *options)
    mesh.apply(SERVICES)
    mesh.echo("other", app="other", wait=False)
    mesh.wait_healthy("other")
    client = Client(mesh.proxy_of("client"))
    until("a workload that is new is certified and called", lambda: client("http://other/").status == 200)
    client.close()
    until("it is told", lambda: "authority-unavailable" in {row["code"] for row in mesh.items("problems")})
    [problem] = [row for row in mesh.items("problems") if row["code"] == "authority-unavailable"]
    assert problem["severity"] == "warning"
    assert "days more" in problem["message"]


def test_a_first_start_without_its_vault_says_so(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "vault.toml").write_text('address = "http://127.0.0.1:9"\ntoken_file = "token"\n')
    refused = mesh.weft("serve", *PORTS, "--ca-vault", str(tmp_path / "vault.toml"), check=False)
    assert refused.returncode == 1
    assert "Vault at http://127.0.0.1:9 (mount pki) cannot be reached" in refused.stderr
