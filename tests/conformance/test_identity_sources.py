"""What every source of workloads' identities does, and what the agent and the control plane take from it: SPIRE's shape
of the Workload API, and weft's own of another mesh."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from support.mesh import until
from support.spire import Spire
from weft.agent.certificates import CertificateFiles
from weft.agent.errors import AgentError
from weft.agent.identity_source import IdentitySource
from weft.agent.keys import make_key
from weft.agent.workload_api.client import SourceError, WorkloadApiClient
from weft.agent.workload_api.identities import Calls, Identities
from weft.agent.workload_api.service import WorkloadApi
from weft.ca.authority import Authority, open_authority
from weft.ca.rotation import Phase, advance
from weft.controlplane.identity_roots import IdentityRoots
from weft.model.bundles import BundleText, TrustAnswer
from weft.model.identity import SpiffeId
from weft.settings.workload_api import SPIRE_SOCKET, socket_from_text
from weft.xds.policies.tls import CONTROL_PLACE

WEB = SpiffeId("cluster.local", "default", "web")


@dataclass
class Case:
    """A source: its socket, and how its root changes (two steps: published, then in use) and its agent goes away."""

    path: str
    prepare: Callable[[], None]
    activate: Callable[[], None]
    away: Callable[[], Any]


@contextlib.asynccontextmanager
async def spire(directory: Path, **options: Any) -> AsyncIterator[Case]:
    server = Spire(directory)
    path = socket_from_text(server.socket("web", "spiffe://cluster.local/ns/default/sa/other", str(WEB), **options))
    try:
        yield Case(path, server.prepare_root, server.activate_root, lambda: server.close("web"))
    finally:
        await asyncio.to_thread(server.stop)


@contextlib.asynccontextmanager
async def another_mesh(directory: Path) -> AsyncIterator[Case]:
    authority = open_authority(directory / "other-ca")

    async def certificate(csr: str) -> Any:
        return authority.issue_application(csr, WEB, "web.default", 600.0)

    async def trust() -> TrustAnswer:
        return TrustAnswer((BundleText("cluster.local", authority.bundle, '{"keys": []}'),), 0.05)

    async def no_token(_: Any) -> Any:
        raise AgentError("not asked for here")

    identities = Identities(Calls(certificate, no_token, trust))
    path = directory / "other.sock"
    serving = asyncio.create_task(WorkloadApi(identities, str(WEB)).serve(path))
    await asyncio.to_thread(until, "it listens", path.exists, 10)

    def activate() -> None:
        for _ in range(2):
            authority.move(advance(authority.rotation, authority.rotation.since + 1e9, confirmed=True))
        assert authority.rotation.phase in (Phase.DROPPING, Phase.STEADY)
        identities.svid.set(None)

    async def away() -> None:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        path.unlink(missing_ok=True)

    try:
        yield Case(str(path), authority.begin_rotation, activate, away)
    finally:
        await away()


CASES = {
    "spire": spire,
    "spire-rsa": lambda directory: spire(directory, rsa=True),
    "spire-dns": lambda directory: spire(directory, dns=("localhost", "web")),
    "another mesh": another_mesh,
}


@pytest.fixture(params=sorted(CASES))
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with CASES[request.param](tmp_path) as case:
        yield case


class Workload:
    """The agent's side and the control plane's, without processes."""

    def __init__(self, case: Case, directory: Path) -> None:
        self.authority: Authority = open_authority(directory / "ca")
        self.client = WorkloadApiClient(case.path)
        self.roots = IdentityRoots(self.client, self.authority, directory / "roots.pem")
        self.control = CertificateFiles(directory / "w", CONTROL_PLACE)
        self.files = CertificateFiles(directory / "w")
        for one in (self.control, self.files):
            one.prepare()
        identity = ("default", "web")
        self.source = IdentitySource(WorkloadApiClient(case.path), identity, self.files, self.control)
        self.control.then = self.source.refresh

    def enrol(self) -> None:
        """As a registration or a renewal does it."""
        fresh = make_key()
        self.control.install(fresh.key, self.authority.issue(fresh.csr, WEB, "web.default"))

    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.files.chain.read_bytes())[0]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one.run()) for one in (self.roots, self.source)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def soon(what: str, holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, what, holds, 20)


@pytest.fixture
def workload(case: Case, tmp_path: Path) -> Workload:
    return Workload(case, tmp_path)


async def test_the_certificate_is_put_in_place_with_whom_the_mesh_believes(workload: Workload) -> None:
    async with workload.running():
        await soon("the roots are known", lambda: bool(workload.authority.others))
        workload.enrol()
        await workload.source.installed(10)
        assert workload.files.bundle.read_text() == workload.authority.workload_bundle
        assert workload.control.authority.read_text() == workload.authority.bundle
        assert (
            workload.leaf().subject != x509.load_pem_x509_certificates(workload.control.chain.read_bytes())[0].subject
        )
        chain, signature = await workload.source.prove(b"message")
        assert chain == workload.files.chain.read_text()
        assert signature


async def test_nothing_is_shown_that_the_mesh_does_not_believe(workload: Workload) -> None:
    workload.enrol()
    source = asyncio.create_task(workload.source.run())
    try:
        with pytest.raises(AgentError, match=r"leads to no root.*--identity-from"):
            await workload.source.installed(1.0)
        assert not workload.files.chain.exists()
    finally:
        source.cancel()


async def test_a_new_root_is_believed_before_it_signs(case: Case, workload: Workload) -> None:
    async with workload.running():
        await soon("the roots are known", lambda: bool(workload.authority.others))
        workload.enrol()
        await workload.source.installed(10)
        first, before = workload.leaf(), workload.authority.wanted
        case.prepare()
        await soon("both are believed", lambda: workload.authority.others.count("BEGIN") == 2)
        assert workload.authority.wanted != before, "proxies are told to renew, and asked whether they have it"
        workload.enrol()
        case.activate()
        await soon("a certificate of the new root", lambda: workload.leaf() != first)


async def test_what_was_known_last_goes_on_while_the_source_is_away(
    case: Case, workload: Workload, tmp_path: Path
) -> None:
    async with workload.running():
        await soon("the roots are known", lambda: bool(workload.authority.others))
        workload.enrol()
        await workload.source.installed(10)
        gone = case.away()
        if gone is not None:
            await gone
        await soon("it is told", lambda: bool(workload.roots.problems()))
        [problem] = workload.roots.problems()
        assert (problem.code, str(problem.severity)) == ("identity-source-unavailable", "warning")
        assert workload.files.chain.exists()
    fresh = open_authority(tmp_path / "ca")
    IdentityRoots(workload.client, fresh, tmp_path / "roots.pem")
    assert fresh.others == workload.authority.others, "a restart believes whom it believed"


async def test_the_mesh_revokes_by_no_list_while_another_source_is_believed(workload: Workload) -> None:
    assert workload.authority.revocation_list([7])
    async with workload.running():
        await soon("the roots are known", lambda: bool(workload.authority.others))
    assert workload.authority.revocation_list([7]) == ""


async def test_a_process_without_an_entry_is_told_so(tmp_path: Path) -> None:
    async with spire(tmp_path) as case:
        server = Spire(tmp_path / "more")
        server.socket("none")
        server.socket("other", "spiffe://cluster.local/ns/default/sa/other")
        for name, why in (("none", "has no identity for this process"), ("other", "sa/other")):
            other = Workload(Case(str(tmp_path / f"more/{name}.sock"), *[case.prepare] * 3), tmp_path / name)
            async with other.running():
                with pytest.raises(AgentError, match=why):
                    await other.source.installed(2.0)
        server.stop()


async def test_a_source_of_another_trust_domain_is_not_believed(tmp_path: Path) -> None:
    server = Spire(tmp_path / "s", "elsewhere.example")
    path = socket_from_text(server.socket("web", "spiffe://elsewhere.example/ns/default/sa/web"))
    workload = Workload(Case(path, server.change, server.change, server.change), tmp_path)
    async with workload.running():
        await soon("it is told", lambda: bool(workload.roots.problems()))
        [problem] = workload.roots.problems()
        assert "no bundle of the mesh's trust domain cluster.local" in problem.message
        assert str(problem.severity) == "error"
        workload.enrol()
        with pytest.raises(AgentError):
            await workload.source.installed(1.0)
    server.stop()


async def test_an_answer_that_cannot_be_read_is_a_failure_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no socket"):
        await anext(aiter(WorkloadApiClient(str(tmp_path / "nothing")).x509_svids()))


@pytest.mark.parametrize(
    ("text", "path"),
    [("", ""), ("spire", SPIRE_SOCKET), ("unix:/run/a.sock", "/run/a.sock"), ("unix:///run/a.sock", "/run/a.sock")],
)
def test_addresses(text: str, path: str) -> None:
    assert socket_from_text(text) == path


@pytest.mark.parametrize(
    "text", ["/run/a.sock", "unix:a.sock", "tcp:127.0.0.1:80", "unix://run/a", "spiffe", "unix:/" + "a" * 200]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected unix:/PATH|may have 107 bytes"):
        socket_from_text(text)
