"""Bundles of other trust domains: fetched when due, kept through outages, dropped when they are not to be trusted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.meshdocs import Compiled as CompiledMesh
from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.aio.fetch import FetchError
from weft.ca.authority import Authority, open_authority
from weft.ca.certificates import Validity, build_root, certificate_pem
from weft.controlplane.federation import KEPT_SECONDS, Bundles
from weft.model.bundles import ForeignBundle, TrustBundle, bundle_to_json
from weft.sources.bundles import bundles_source, kept_bundles
from weft.store.memory import MemoryStore

NOW = 1_800_000_000.0
URL = "https://b.example/"


def root(name: str = "b.test", end: float = NOW + 1e6) -> str:
    return certificate_pem(build_root(name, Validity(NOW - 1e6, end)).certificate)


ROOTS = [root(), root()]
DOCUMENT = f"""
apiVersion: weft.dev/v1alpha1
kind: FederatedTrustDomain
metadata: {{name: b, namespace: istio-system}}
spec:
  trustDomain: b.test
  bundleEndpointURL: {URL}
  bundleEndpointProfile: {{type: https_web}}
"""


class Rig:
    """A mesh that is compiled from a document and what the store has, with a clock and an endpoint of the test's."""

    def __init__(self, directory: Path, store: MemoryStore | None = None) -> None:
        self.now = NOW
        self.store = store or MemoryStore()
        self.document = DOCUMENT
        self.answer: Callable[[], str] = lambda: self.bundle(ROOTS[0])
        self.asked: list[str] = []
        self.contexts: list[ssl.SSLContext | None] = []
        self.authority: Authority = open_authority(directory / "ca", clock=lambda: self.now)
        self.compiled: Cell[Compiled] = Cell(Compiled(0, None))
        self.bundles = Bundles(self.store, self.compiled, self.authority, self.get, lambda: self.now)

    @staticmethod
    def bundle(*roots: str, hint: float = 0.0) -> str:
        return bundle_to_json(TrustBundle("b.test", roots, (), 0, hint))

    async def get(self, url: str, tls: ssl.SSLContext | None) -> str:
        self.asked.append(url)
        self.contexts.append(tls)
        return self.answer()

    async def compile(self) -> None:
        kept = tuple((await kept_bundles(self.store))[0].values())
        self.compiled.set(Compiled(1, CompiledMesh(self.document, bundles=kept).mesh))

    async def refresh(self, after: float = 0.0) -> None:
        """What `run` does at a later time, and the compilation that follows."""
        self.now += after
        await self.compile()
        await self.bundles.refresh()
        await self.compile()

    @property
    def trusted(self) -> list[str]:
        """The roots in force."""
        mesh = self.compiled.value.mesh
        assert mesh is not None
        return [pem for domain in mesh.federation.domains for pem in domain.bundle.roots]

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.bundles.problems()]

    async def kept(self) -> ForeignBundle:
        return (await kept_bundles(self.store))[0]["b.test"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    yield Rig(tmp_path)


def fail(why: str = "it answers 503") -> Callable[[], str]:
    def raises() -> str:
        raise FetchError(why)

    return raises


async def test_a_bundle_is_fetched_and_again_when_it_is_due(rig: Rig) -> None:
    await rig.refresh()
    assert rig.trusted == [ROOTS[0]]
    await rig.refresh(299)
    assert len(rig.asked) == 1
    rig.answer = lambda: rig.bundle(*ROOTS, hint=60)
    await rig.refresh(2)
    assert (rig.trusted, (await rig.kept()).withdrawn) == (ROOTS, 0)
    rig.answer = lambda: rig.bundle(ROOTS[1], hint=1)
    await rig.refresh(61)
    assert (rig.trusted, (await rig.kept()).withdrawn) == ([ROOTS[1]], 1)
    await rig.refresh(9)
    assert len(rig.asked) == 3
    await rig.refresh(2)
    assert len(rig.asked) == 4
    assert not rig.codes


@pytest.mark.parametrize(
    "answer",
    [fail(), lambda: "", lambda: '{"keys": []}', lambda: '{"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}]}'],
)
async def test_what_was_good_last_stays_through_outages_and_restarts(
    answer: Callable[[], str], rig: Rig, tmp_path: Path
) -> None:
    await rig.refresh()
    rig.answer = answer
    for _ in range(5):
        await rig.refresh(400)
    assert rig.trusted == [ROOTS[0]]
    assert rig.codes == ["trust-bundle-stale"]
    (state,) = rig.bundles.states()
    assert (state.state, state.fetched) == ("stale", NOW)
    assert state.error
    again = Rig(tmp_path, rig.store)
    again.now, again.answer = rig.now, answer
    await again.bundles.load()
    await again.refresh()
    assert again.trusted == [ROOTS[0]]


async def test_nobody_is_trusted_before_the_first_bundle(rig: Rig) -> None:
    rig.answer = fail("a\x1b[31m")
    await rig.refresh()
    assert rig.trusted == []
    assert rig.codes == ["trust-bundle-missing"]
    (problem,) = rig.bundles.problems()
    assert "\x1b" not in problem.message
    assert problem.origin.line == 7
    for _ in range(20):
        await rig.refresh(1)
    assert 4 <= len(rig.asked) <= 6  # 0, 2, 6, 14 s
    rig.answer = lambda: rig.bundle(ROOTS[0])
    await rig.refresh(61)
    assert (rig.trusted, rig.codes) == ([ROOTS[0]], [])


async def test_a_bundle_that_is_not_confirmed_for_a_week_is_dropped(rig: Rig, tmp_path: Path) -> None:
    await rig.refresh()
    rig.answer = fail()
    await rig.refresh(KEPT_SECONDS - 10)
    assert rig.trusted == [ROOTS[0]]
    again = Rig(tmp_path, rig.store)  # a restart does not give it another week
    again.now, again.answer = rig.now, fail()
    await again.bundles.load()
    await again.refresh(20)
    assert again.trusted == []
    assert again.codes == ["trust-bundle-expired"]


async def test_the_time_of_the_last_fetch_is_kept_seldom(rig: Rig) -> None:
    revisions = set()
    for _ in range(24):
        await rig.refresh(301)
        revisions.add((await rig.store.list("trust-bundles"))[0])
    assert len(revisions) <= 4


async def test_a_deleted_document_forgets_the_bundle(rig: Rig) -> None:
    await rig.refresh()
    rig.document = DOCUMENT.replace(URL, "https://elsewhere.example/")
    rig.answer = fail()
    await rig.refresh(1)
    assert rig.trusted == []  # what one endpoint gave is not what another stands for
    rig.document = DOCUMENT
    rig.answer = lambda: rig.bundle(ROOTS[0])
    await rig.refresh(1)
    assert rig.trusted == [ROOTS[0]]
    rig.document = ""
    await rig.refresh(1)
    assert not (await kept_bundles(rig.store))[0]


async def test_roots_that_have_ended_are_told(rig: Rig) -> None:
    rig.answer = lambda: rig.bundle(root(end=NOW + 100))
    await rig.refresh()
    assert not rig.codes
    rig.now += 200
    assert rig.codes == ["trust-bundle-expired"]


async def test_an_endpoint_with_a_spiffe_id_is_checked_by_the_roots_of_its_domain(rig: Rig) -> None:
    profile = "{type: https_spiffe, endpointSPIFFEID: spiffe://cluster.local/ns/a/sa/b}"
    rig.document = DOCUMENT.replace("{type: https_web}", profile)
    await rig.refresh()
    assert rig.contexts[-1] is not None
    rig.document = DOCUMENT.replace("{type: https_web}", profile.replace("cluster.local", "other.test"))
    asked = len(rig.asked)
    await rig.refresh(1)
    assert len(rig.asked) == asked  # nothing to check it with: nobody is asked
    assert "no bundle of other.test" in rig.bundles.states()[0].error


async def test_the_source_follows_the_store(rig: Rig) -> None:
    source = bundles_source(rig.store)
    task = asyncio.create_task(source.run())
    version = await source.contents.changed(0)
    await rig.refresh()
    await source.contents.changed(version)
    contents = source.contents.value
    assert contents is not None
    assert [one.bundle.roots for one in contents.bundles] == [(ROOTS[0],)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
