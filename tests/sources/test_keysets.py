"""Keys of issuers: fetched as documents ask, kept through outages and restarts, never replaced by a default."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from support.tokens import Issuer, jwk, key_set
from support.virtual_time import in_virtual_time
from weft.aio.cell import Cell
from weft.aio.fetch import Fetched, FetchError, Network
from weft.model.document import Document
from weft.model.jwks import KeySet, read_key_set
from weft.model.problem import Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.keysets import BUCKET, KEPT_SECONDS, MOST_SERVERS, KeySource
from weft.store.memory import MemoryStore
from weft.store.protocol import Put

A, B = Issuer("https://a.example"), Issuer("https://b.example")
A_KEYS, B_KEYS = "https://a.example/keys", "https://b.example/keys"


def authentication(name: str, *rules: str, annotations: str = "{}") -> str:
    lines = "\n".join(f"  - {rule}" for rule in rules)
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: shop, annotations: {annotations}}}
spec:
  jwtRules:
{lines}
"""


def asking(issuer: str, uri: str = "") -> str:
    return f"{{issuer: '{issuer}', jwksUri: '{uri}'}}" if uri else f"{{issuer: '{issuer}'}}"


def documents(*texts: str) -> tuple[Document[object], ...]:
    decoded = decode_documents("---".join(texts), "tokens.yaml")
    assert not [problem for problem in decoded.problems if problem.severity is Severity.ERROR], decoded.problems
    return decoded.documents


@dataclass
class Web:
    """Servers that answer at once, with what stands in `pages`, or do not."""

    pages: dict[str, str] = field(default_factory=dict)
    max_age: float | None = None
    asked: list[tuple[float, str]] = field(default_factory=list)
    networks: Sequence[Network] = ()

    async def fetch(self, url: str, networks: Sequence[Network]) -> Fetched:
        self.asked.append((asyncio.get_running_loop().time(), url))
        self.networks = networks
        if url not in self.pages:
            raise FetchError("it answers 404")
        return Fetched(self.pages[url].encode(), self.max_age)


@dataclass
class Place:
    """A source beside a cell of snapshots."""

    source: KeySource
    cell: Cell[Collected]
    web: Web

    def say(self, *texts: str) -> None:
        snapshot = ConfigSnapshot(self.cell.version + 1, documents(*texts) if texts else ())
        self.cell.set(Collected(snapshot, 0))

    @property
    def contents(self) -> Contents:
        value = self.source.contents.value
        assert value is not None
        return value

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.contents.problems]


@contextlib.asynccontextmanager
async def running(web: Web, store: MemoryStore | None = None, start: float = 0.0) -> AsyncIterator[Place]:
    cell = Cell(Collected(ConfigSnapshot(0), 0))
    loop = asyncio.get_running_loop()
    source = KeySource(store or MemoryStore(), lambda: cell, fetching=web.fetch, clock=lambda: start + loop.time())
    task = asyncio.create_task(source.run())
    try:
        await asyncio.sleep(0.01)
        yield Place(source, cell, web)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def read(issuer: Issuer) -> str:
    return read_key_set(issuer.jwks).text


@in_virtual_time
async def test_keys_are_fetched_when_a_document_asks_and_nobody_waits_for_them() -> None:
    async with running(Web({A_KEYS: A.jwks})) as here:
        assert here.contents == Contents(), "a snapshot does not wait for keys"
        here.say(authentication("a", asking(A.name, A_KEYS)), authentication("b", asking(A.name, A_KEYS)))
        await asyncio.sleep(0.1)
        assert here.contents == Contents(keys=(KeySet(A_KEYS, read(A)),))
        assert [url for _, url in here.web.asked] == [A_KEYS], "once for both"


@in_virtual_time
async def test_keys_in_the_document_or_for_the_proxy_are_not_fetched() -> None:
    inline = f"{{issuer: x, jwks: '{A.jwks}'}}"
    proxied = authentication("p", asking(A.name, A_KEYS), annotations="{weft.dev/jwks-fetch: proxy}")
    async with running(Web()) as here:
        here.say(authentication("a", inline), proxied, authentication("h", asking(A.name, "http://a.example/keys")))
        await asyncio.sleep(100)
        assert here.web.asked == []


@in_virtual_time
async def test_an_issuer_says_itself_where_its_keys_are() -> None:
    told = f"{A.name}/.well-known/openid-configuration"
    web = Web({told: json.dumps({"issuer": A.name, "jwks_uri": A_KEYS}), A_KEYS: A.jwks})
    async with running(web) as here:
        here.say(authentication("a", asking(A.name)))
        await asyncio.sleep(0.1)
        assert here.contents.keys == (KeySet(told, read(A)),)
        for page, reason in (
            (json.dumps({"issuer": B.name, "jwks_uri": A_KEYS}), "another issuer"),
            (json.dumps({"issuer": A.name}), "jwks_uri"),
            ("[]", "another issuer"),
            ("no", "no JSON"),
        ):
            web.pages[told] = page
            await asyncio.sleep(1300)
            assert reason in here.contents.problems[0].message
            assert here.contents.keys == (KeySet(told, read(A)),)


@pytest.mark.parametrize(("said", "after"), [(None, 1200), (0.0, 60), (300.0, 300), (1e9, 3600)])
def test_keys_are_fetched_again_when_the_server_says_but_within_bounds(said: float | None, after: int) -> None:
    @in_virtual_time
    async def run() -> None:
        async with running(Web({A_KEYS: A.jwks}, said)) as here:
            here.say(authentication("a", asking(A.name, A_KEYS)))
            await asyncio.sleep(after * 2.5)
            times = [when for when, _ in here.web.asked]
            assert len(times) == 3
            assert times[1] - times[0] == pytest.approx(after, abs=1)

    run()


@in_virtual_time
async def test_a_rotated_key_comes_and_the_old_one_goes() -> None:
    web = Web({A_KEYS: A.jwks}, 60.0)
    async with running(web) as here:
        here.say(authentication("a", asking(A.name, A_KEYS)))
        await asyncio.sleep(1)
        web.pages[A_KEYS] = B.jwks
        await asyncio.sleep(61)
        assert here.contents.keys == (KeySet(A_KEYS, read(B)),)


BROKEN: list[Callable[[Web], object]] = [
    lambda web: web.pages.pop(A_KEYS),
    lambda web: web.pages.update({A_KEYS: ""}),
    lambda web: web.pages.update({A_KEYS: '{"keys": []}'}),
    lambda web: web.pages.update({A_KEYS: "<html>"}),
    lambda web: web.pages.update({A_KEYS: key_set({"kty": "oct", "k": "c2VjcmV0"})}),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_the_last_good_keys_stay_while_the_server_is_away_and_the_problem_says_since_when(
    broken: Callable[[Web], object],
) -> None:
    @in_virtual_time
    async def run() -> None:
        web = Web({A_KEYS: A.jwks}, 60.0)
        async with running(web) as here:
            here.say(authentication("a", asking(A.name, A_KEYS)))
            await asyncio.sleep(1)
            broken(web)
            await asyncio.sleep(3600)
            assert here.contents.keys == (KeySet(A_KEYS, read(A)),)
            (problem,) = here.contents.problems
            assert (problem.code, problem.severity, problem.origin.line) == ("keys-outdated", Severity.WARNING, 7)
            assert "since 1970-01-01T00:01:00" in problem.message
            first = problem
            count = len(web.asked)
            await asyncio.sleep(600)
            assert 5 <= len(web.asked) - count <= 11, "once a minute at last"
            assert here.contents.problems == (first,)
            web.pages[A_KEYS] = B.jwks
            await asyncio.sleep(61)
            assert here.contents == Contents(keys=(KeySet(A_KEYS, read(B)),))

    run()


@in_virtual_time
async def test_keys_that_cannot_be_fetched_for_a_week_are_in_force_no_more() -> None:
    web = Web({A_KEYS: A.jwks})
    async with running(web) as here:
        here.say(authentication("a", asking(A.name, A_KEYS)))
        await asyncio.sleep(1)
        del web.pages[A_KEYS]
        await asyncio.sleep(KEPT_SECONDS - 100)
        assert here.contents.keys
        await asyncio.sleep(200)
        assert here.contents.keys == ()
        assert here.codes == ["keys-not-fetched"]


@in_virtual_time
async def test_until_the_first_keys_are_there_the_problem_is_an_error() -> None:
    async with running(Web()) as here:
        here.say(authentication("a", asking(A.name, A_KEYS)))
        await asyncio.sleep(10)
        (problem,) = here.contents.problems
        assert (problem.code, problem.severity) == ("keys-not-fetched", Severity.ERROR)
        assert "its tokens are refused" in problem.message
        assert "404" in problem.message
        times = [when for when, _ in here.web.asked]
        assert times == pytest.approx([0.01, 1.01, 3.01, 7.01], abs=0.1)


@in_virtual_time
async def test_keys_outlast_the_control_plane_and_are_asked_for_again_at_once() -> None:
    store = MemoryStore()
    text = authentication("a", asking(A.name, A_KEYS))
    async with running(Web({A_KEYS: A.jwks}), store) as here:
        here.say(text)
        await asyncio.sleep(1)
    async with running(Web(), store, start=100.0) as here:
        assert here.contents.keys == (KeySet(A_KEYS, read(A)),), "before any document is read"
        here.say(text)
        await asyncio.sleep(1)
        assert here.contents.keys
        assert here.codes == ["keys-outdated"]
    async with running(Web(), store, start=KEPT_SECONDS + 200) as here:
        assert here.contents.keys == ()


@in_virtual_time
async def test_what_lies_damaged_in_the_store_is_not_used() -> None:
    store = MemoryStore()
    weak = json.dumps({"uri": A_KEYS, "text": key_set({"kty": "oct", "k": "c2VjcmV0"}), "fetched": 0})
    await store.write([Put(BUCKET, "x", b"{"), Put(BUCKET, "y", weak.encode())])
    async with running(Web(), store) as here:
        assert here.contents == Contents()


@in_virtual_time
async def test_keys_that_nobody_wants_are_forgotten() -> None:
    store = MemoryStore()
    async with running(Web({A_KEYS: A.jwks}), store) as here:
        here.say(authentication("a", asking(A.name, A_KEYS)))
        await asyncio.sleep(1)
        assert (await store.list(BUCKET))[1]
        here.say()
        await asyncio.sleep(1)
        assert here.contents == Contents()
        assert (await store.list(BUCKET))[1] == ()


@in_virtual_time
async def test_one_slow_server_does_not_hold_up_the_others() -> None:
    web = Web({B_KEYS: B.jwks})

    async def fetch(url: str, networks: Sequence[Network]) -> Fetched:
        if url == A_KEYS:
            await asyncio.sleep(10_000)
        return await Web.fetch(web, url, networks)

    web.fetch = fetch  # type: ignore[method-assign]
    async with running(web) as here:
        here.say(authentication("a", asking(A.name, A_KEYS), asking(B.name, B_KEYS)))
        await asyncio.sleep(1)
        assert here.contents.keys == (KeySet(B_KEYS, read(B)),)


@in_virtual_time
async def test_so_many_servers_and_no_more() -> None:
    async with running(Web()) as here:
        rules = [asking(f"https://i{number}.example", f"https://i{number}.example/k") for number in range(64)]
        texts = [
            authentication(f"d{index}", *(rule.replace(".example", f".x{index}.example") for rule in rules))
            for index in range(4)
        ]
        here.say(*texts)
        await asyncio.sleep(0.5)
        assert len({url for _, url in here.web.asked}) == MOST_SERVERS
        assert here.codes.count("keys-unreachable") == 4 * 64 - MOST_SERVERS


@in_virtual_time
async def test_a_key_that_may_not_be_used_is_told_of() -> None:
    page = key_set(jwk(A.key, "k1"), {"kty": "oct", "k": "c2VjcmV0"})
    async with running(Web({A_KEYS: page})) as here:
        here.say(authentication("a", asking(A.name, A_KEYS)))
        await asyncio.sleep(1)
        assert here.codes == ["key-left-out"]
        assert "shared secret" in here.contents.problems[0].message


@in_virtual_time
async def test_a_network_that_is_allowed_later_is_asked_at_once() -> None:
    mesh = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {jwksAllowedNetworks: [10.1.2.0/24]}
"""
    web = Web()
    text = authentication("a", asking(A.name, A_KEYS))
    async with running(web) as here:
        here.say(text)
        await asyncio.sleep(1000)
        assert web.networks == ()
        web.pages[A_KEYS] = A.jwks
        here.say(text, mesh)
        await asyncio.sleep(1)
        assert list(map(str, web.networks)) == ["10.1.2.0/24"]
        assert here.contents.keys


@in_virtual_time
async def test_what_trips_us_up_at_one_server_is_a_problem_of_that_one(caplog: pytest.LogCaptureFixture) -> None:
    async def fetch(url: str, networks: Sequence[Network]) -> Fetched:
        if url == A_KEYS:
            raise ZeroDivisionError
        return await Web.fetch(web, url, networks)

    web = Web({B_KEYS: B.jwks})
    web.fetch = fetch  # type: ignore[method-assign]
    async with running(web) as here:
        here.say(authentication("a", asking(A.name, A_KEYS), asking(B.name, B_KEYS)))
        await asyncio.sleep(1)
        assert here.contents.keys == (KeySet(B_KEYS, read(B)),)
        assert here.codes == ["keys-not-fetched"]
