"""OpenID providers: what they say of themselves is read, checked, kept, and told when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from weft.aio.cell import Cell
from weft.aio.fetch import FetchError
from weft.model.openid import OpenIdEndpoints
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.openid import OpenIdSource, read_endpoints
from weft.store.memory import MemoryStore

POLICY = """
apiVersion: weft.dev/v1alpha1
kind: OIDCPolicy
metadata: {name: shop}
spec:
  targetRefs: [{kind: Gateway, name: a}]
  provider: {issuer: "ISSUER"}
  clientID: shop
  clientSecretRef: {name: a}
"""


ALLOWED = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {jwksAllowedNetworks: [127.0.0.0/8]}
"""


def said(issuer: str, **changes: Any) -> dict[str, Any]:
    """What a provider says."""
    own = {
        "issuer": issuer,
        "authorization_endpoint": "https://id.example.com/auth",
        "token_endpoint": "https://id.example.com/token",
        "end_session_endpoint": "https://id.example.com/end",
    }
    return {name: value for name, value in {**own, **changes}.items() if value is not None}


class Provider:
    """A provider whose answer can be changed; None is silence."""

    def __init__(self) -> None:
        self.answer: Mapping[str, Any] | None = None
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b" ")[1].decode())
            body = json.dumps(self.answer).encode()
            status = b"404 Not Found" if self.answer is None else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[tuple[Provider, str]]:
    """A running one, and its issuer."""
    own = Provider()
    server = await asyncio.start_server(own.serve, "127.0.0.1", 0)
    async with server:
        yield own, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def collected(*texts: str) -> Cell[Collected]:
    """A snapshot with these documents."""
    documents = [each for text in texts for each in decode_documents(text, "mesh.yaml").documents]
    return Cell(Collected(ConfigSnapshot(1, tuple(documents)), 1))


@contextlib.asynccontextmanager
async def running(source: OpenIdSource) -> AsyncIterator[None]:
    """A source that runs."""
    task = asyncio.create_task(source.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def contents(source: OpenIdSource, *, problems: bool = False) -> Contents:
    """What it holds when it has endpoints, or `problems`."""
    version = 0
    async with asyncio.timeout(60):
        while True:
            version = await source.contents.changed(version)
            found = source.contents.value
            if found is not None and (found.problems if problems else found.endpoints):
                return found


async def test_it_is_read_and_kept_over_a_restart_without_the_provider() -> None:
    store = MemoryStore(lambda: 0.0)
    async with provider() as (own, issuer):
        own.answer = said(issuer)
        cell = collected(POLICY.replace("ISSUER", issuer), ALLOWED)
        source = OpenIdSource(store, lambda: cell)
        async with running(source):
            cell.set(cell.value)
            found = await contents(source)
        assert found.endpoints[0].token == "https://id.example.com/token"
        assert own.asked == ["/.well-known/openid-configuration"]
        own.answer = None
        again = OpenIdSource(store, lambda: cell)
        async with running(again):
            assert (await contents(again)).endpoints == found.endpoints
            told = await contents(again, problems=True)
        assert told.endpoints == found.endpoints
        assert "it answers 404; what it said before stays in force" in told.problems[0].message


async def test_what_cannot_be_read_is_told() -> None:
    async with provider() as (own, issuer):
        own.answer = said("https://other.example.com")
        cell = collected(POLICY.replace("ISSUER", issuer), ALLOWED)
        cell.set(cell.value)
        source = OpenIdSource(MemoryStore(lambda: 0.0), lambda: cell)
        async with running(source):
            found = await contents(source, problems=True)
    assert found.endpoints == ()
    assert "it says that it is 'https://other.example.com'" in found.problems[0].message
    assert str(found.problems[0].origin) == "mesh.yaml:7"


async def test_loopback_is_asked_only_where_the_mesh_allows_it() -> None:
    async with provider() as (own, issuer):
        own.answer = said(issuer)
        policy = POLICY.replace("ISSUER", issuer)
        cell = collected(policy)
        cell.set(cell.value)
        source = OpenIdSource(MemoryStore(lambda: 0.0), lambda: cell)
        async with running(source):
            found = await contents(source, problems=True)
            assert "http is for loopback addresses only" in found.problems[0].message
            assert own.asked == []
            cell.set(collected(policy, ALLOWED).value)
            assert (await contents(source)).endpoints[0].issuer == issuer


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "no JSON"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (json.dumps(said("https://id.example.com", token_endpoint=None)).encode(), "its token_endpoint"),
        (json.dumps(said("https://id.example.com", token_endpoint="http://a.example")).encode(), "its token_endpoint"),
        (json.dumps(said("https://id.example.com", authorization_endpoint=7)).encode(), "its authorization_endpoint"),
        (json.dumps(said("https://id.example.com", end_session_endpoint="javascript:1")).encode(), "its end_session"),
        (json.dumps(said("https://id.example.com/")).encode(), "it says that it is"),
    ],
)
def test_what_a_provider_may_not_say(body: bytes, why: str) -> None:
    with pytest.raises(FetchError, match=why):
        read_endpoints("https://id.example.com", body)


def test_a_provider_need_not_say_where_one_logs_out() -> None:
    body = json.dumps(said("https://id.example.com", end_session_endpoint=None)).encode()
    found = read_endpoints("https://id.example.com", body)
    assert found == OpenIdEndpoints(
        "https://id.example.com", "https://id.example.com/auth", "https://id.example.com/token"
    )


async def test_with_nothing_to_read_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the machine has been up, which is what `time.monotonic` tells."""
    monkeypatch.setattr("weft.sources.openid.time.monotonic", lambda: 1e9)
    looks = 0
    cell = Cell(Collected(ConfigSnapshot(1), 0))

    def collected() -> Cell[Collected]:
        nonlocal looks
        looks += 1
        return cell

    task = asyncio.create_task(OpenIdSource(MemoryStore(lambda: 0.0), collected).run())
    for _ in range(500):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert looks <= 6


async def test_one_that_is_not_asked_any_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time passes, and it is still named by a document: one before it has taken its place."""
    now = 0.0

    async def fails(*_: object, **__: object) -> object:
        raise FetchError("away")

    monkeypatch.setattr("weft.sources.openid.time.monotonic", lambda: now)
    monkeypatch.setattr("weft.sources.openid.fetch", fails)
    monkeypatch.setattr("weft.sources.openid.MOST_PROVIDERS", 1)
    later = POLICY.replace("ISSUER", "https://b.example.com")
    before = later.replace("b.example.com", "a.example.com").replace("name: ", "name: a-", 1)
    cell, looks = collected(later), 0

    def looked() -> Cell[Collected]:
        nonlocal looks
        looks += 1
        return cell

    async with running(OpenIdSource(MemoryStore(lambda: 0.0), looked)):
        for documents in (later,), (before, later):
            cell.set(collected(*documents).value)
            for _ in range(50):
                await asyncio.sleep(0)
        assert looks > 4, "both were looked at"
        now, seen = 1e6, looks
        cell.set(cell.value)
        for _ in range(500):
            await asyncio.sleep(0)
    assert 0 < looks - seen <= 10
