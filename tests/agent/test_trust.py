"""The agent's part in a rotation of roots: what Envoy has in use, which roots were handed on, when it renews."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.errors import AgentError
from weft.agent.identity import CertificateState, Given, certificate_state
from weft.agent.in_use import EnvoyInUse
from weft.agent.keys import fingerprints, issuer_fingerprint, make_key, root_fingerprint
from weft.agent.registration import Registration
from weft.ca.authority import Authority, open_authority
from weft.ca.rotation import Phase, advance
from weft.model.enrolment import RegisterResponse, RenewResponse
from weft.model.identity import SpiffeId
from weft.model.trust import FORMER_ROOTS, trust_digest
from weft.model.workload import Workload, WorkloadState
from weft.testing import eventually

WEB = SpiffeId("cluster.local", "default", "web")
NOW = 1_800_000_000.0


def install(files: CertificateFiles, authority: Authority, joined_by: str = "") -> None:
    fresh = make_key()
    files.install(fresh.key, authority.issue(fresh.csr, WEB, "web.default"), joined_by)


def rotated(authority: Authority, step: Callable[[], None] = lambda: None) -> None:
    authority.begin_rotation()
    while authority.rotation.phase is not Phase.STEADY:
        step()
        authority.move(advance(authority.rotation, NOW, confirmed=True))
    step()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    made = CertificateFiles(tmp_path / "web")
    (tmp_path / "web").mkdir()
    made.prepare()
    return made


class FakeEnvoy(EnvoyAdmin):
    """Has the files in use that it was last told to read."""

    def __init__(self, files: CertificateFiles) -> None:
        super().__init__(Path("none"))
        self.files = files
        self.secrets: dict[str, object] = {}
        self.asked = 0

    def read(self) -> None:
        chain, bundle = (base64.b64encode(path.read_bytes()).decode() for path in (self.files.chain, self.files.bundle))
        self.secrets = {
            "identity": {"tls_certificate": {"certificate_chain": {"inline_bytes": chain}}},
            "bundle": {"validation_context": {"trusted_ca": {"inline_bytes": bundle}}},
        }

    async def body(self, path: str) -> bytes:
        assert path == "/config_dump?resource=dynamic_active_secrets"
        self.asked += 1
        configs = [{"name": name, "secret": secret} for name, secret in self.secrets.items()]
        return json.dumps({"configs": configs}).encode()


async def test_what_envoy_does_not_have_yet_is_not_said_to_be_in_use(tmp_path: Path, files: CertificateFiles) -> None:
    authority, envoy = open_authority(tmp_path / "ca"), FakeEnvoy(files)
    in_use = EnvoyInUse(files, envoy, lambda: True)
    assert await in_use() == ("", "")
    install(files, authority)
    assert await in_use() == ("", "")
    envoy.read()
    first = await in_use()
    assert authority.wanted.met(*first)
    asked = envoy.asked
    assert await in_use() == first
    assert envoy.asked == asked, "asked once, not at every renewal of the lease"
    authority.begin_rotation()
    install(files, authority)
    assert await in_use() == first
    assert not authority.wanted.met(*first)
    envoy.read()
    assert authority.wanted.met(*await in_use())


async def test_an_envoy_that_does_not_run_will_read_what_is_there(tmp_path: Path, files: CertificateFiles) -> None:
    install(files, open_authority(tmp_path / "ca"))
    trust, issuer = await EnvoyInUse(files, FakeEnvoy(files), lambda: False)()
    assert trust == trust_digest(fingerprints(files.bundle.read_text()))
    assert issuer == issuer_fingerprint(files.chain.read_text())


def state_with(files: CertificateFiles, fingerprint: str) -> CertificateState:
    held = files.held()
    assert held is not None
    return certificate_state(Given(fingerprint), held, (held.not_before + held.not_after) / 2)


def test_a_fingerprint_that_was_given_stays_good_over_rotations(tmp_path: Path, files: CertificateFiles) -> None:
    authority = open_authority(tmp_path / "ca")
    given = authority.fingerprint
    install(files, authority, joined_by=given.removeprefix("sha256:"))
    for _ in range(3):
        rotated(authority, lambda: install(files, authority))
        assert state_with(files, given) is CertificateState.GOOD
    assert given.removeprefix("sha256:") not in fingerprints(files.bundle.read_text())
    other = open_authority(tmp_path / "other")
    assert state_with(files, other.fingerprint) is CertificateState.OTHER_ROOT


def test_joining_another_mesh_forgets_the_roots_of_the_one_before(tmp_path: Path, files: CertificateFiles) -> None:
    one, other = open_authority(tmp_path / "one"), open_authority(tmp_path / "other")
    install(files, one, joined_by=one.fingerprint.removeprefix("sha256:"))
    install(files, other, joined_by=other.fingerprint.removeprefix("sha256:"))
    assert state_with(files, other.fingerprint) is CertificateState.GOOD
    assert state_with(files, one.fingerprint) is CertificateState.OTHER_ROOT
    files.remove()
    assert not (tmp_path / "web" / "roots").exists()


def test_a_bundle_that_is_none_is_not_installed(tmp_path: Path, files: CertificateFiles) -> None:
    fresh = make_key()
    issued = open_authority(tmp_path / "ca").issue(fresh.csr, WEB, "web.default")
    with pytest.raises(AgentError, match="sent no trust bundle"):
        files.install(fresh.key, type(issued)(issued.chain, "nothing", issued.not_before, issued.not_after))
    assert files.held() is None


def test_the_root_of_a_certificate_is_found_among_several(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    old = authority.issue(make_key().csr, WEB, "web.default")
    first = authority.fingerprint.removeprefix("sha256:")
    assert root_fingerprint(old.chain, old.bundle) == first
    authority.begin_rotation()
    assert root_fingerprint(old.chain, authority.bundle) == first
    authority.move(advance(authority.rotation, NOW, confirmed=True))
    new = authority.issue(make_key().csr, WEB, "web.default")
    second = root_fingerprint(new.chain, authority.bundle)
    assert second not in ("", first), "not the link back to the former root"
    assert root_fingerprint(new.chain, open_authority(tmp_path / "other").bundle) == ""
    while authority.rotation.phase is not Phase.STEADY:
        authority.move(advance(authority.rotation, NOW, confirmed=True))
    trusted, _, former = authority.public_roots.partition(FORMER_ROOTS)
    assert fingerprints(trusted) == {second}
    assert fingerprints(former) == {first}


class Told:
    """A control plane that wants the certificate replaced for as long as it is told that the old one is in use."""

    def __init__(self, directory: Path) -> None:
        self.authority = open_authority(directory / "ca")
        self.joined_by = ""
        self.in_use = ("old", "old")
        self.renewals: list[tuple[str, str]] = []

    async def register(self, workload: Workload, csr: str) -> RegisterResponse:
        issued = self.authority.issue(csr, WEB, workload.proxy)
        return RegisterResponse(issued, "127.0.0.1:1", "spiffe://x", "cluster.local", 30.0, "127.0.0.1:2")

    async def renew(self, _: WorkloadState, __: bool = False, in_use: tuple[str, str] = ("", "")) -> RenewResponse:
        self.renewals.append(in_use)
        return RenewResponse(3600.0, certificate_due=in_use == ("old", "old"))

    async def used(self) -> tuple[str, str]:
        return self.in_use

    async def connected(self) -> bool:
        return True


async def test_it_renews_when_told_and_says_soon_that_it_has(tmp_path: Path, files: CertificateFiles) -> None:
    told = Told(tmp_path)
    registration = Registration(
        cast(ControlPlaneClient, told),
        files,
        lambda state: Workload("web", "default", "web", state=state),
        told.connected,
        told.used,
    )
    await registration.register()
    running = asyncio.create_task(registration.run())
    registration.set_state(WorkloadState.HEALTHY)
    await asyncio.wait_for(registration.certificate_due.wait(), 60)
    registration.certificate_due.clear()
    await eventually("it speaks often until it is done", lambda: len(told.renewals) >= 3)
    told.in_use = ("new", "new")
    await eventually("told", lambda: told.renewals[-1] == ("new", "new"))
    assert registration._pressed == 0.0
    running.cancel()
