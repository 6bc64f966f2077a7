"""What every registry does that services are imported from: Consul (itself, and in its shape), Nomad's shape, SRV
records, a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from support.imported import QUICK, Failures, codes, has, reached, running
from support.registries import (
    Given,
    RegistryCase,
    has_consul,
    instances_file,
    name_server,
    real_consul,
    small_server,
)
from weft.sources.imports.source import ImportSource
from weft.store.memory import MemoryStore

CASES: dict[str, Callable[[Path], Any]] = {
    **({"consul": real_consul} if has_consul() else {}),
    "consul's shape": lambda _: small_server("consul"),
    "nomad's shape": lambda _: small_server("nomad"),
    "srv records": lambda _: name_server(),
    "file": instances_file,
}


@pytest.fixture(params=sorted(CASES))
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RegistryCase]:
    async with CASES[request.param](tmp_path) as case:
        yield case


async def test_it_follows_and_keeps_what_it_knew(case: RegistryCase) -> None:
    store = MemoryStore()
    failures = Failures()
    source = ImportSource(case.settings, store, failures, pace=QUICK)
    async with running(source):
        await reached(source, "an empty one has no services", has())
        await case.put({"web": [Given(20001)]})
        first = await reached(source, "it appears", has(web=[20001]))
        await case.put({"web": [Given(20001), Given(20002)], "db": [Given(25432)]})
        second = await reached(source, "it changes", has(web=[20001, 20002], db=[25432]))
        same = [one for one in second.documents if any(one is before for before in first.documents)]
        assert len(same) == len(first.documents), "what has not changed is the same object"
        assert not second.problems
        assert not failures.errors, "all this is no outage"
        await case.away()
        out = await reached(source, "an outage is told", lambda found: bool(found.problems))
        assert codes(out) == {"import-outdated"}
        assert "what was read last stays in force" in out.problems[0].message
        assert has(web=[20001, 20002], db=[25432])(out)
        await case.back()
        await reached(source, "it recovers", lambda found: not found.problems)
        for breakage in case.nonsense:
            await breakage()
            bad = await reached(source, "nonsense is told", lambda found: bool(found.problems))
            assert codes(bad) == {"import-outdated"}
            assert has(web=[20001, 20002], db=[25432])(bad)
            await case.put({"web": [Given(20001), Given(20002)], "db": [Given(25432)]})
            await reached(source, "it recovers", lambda found: not found.problems)
        await case.put({"web": [Given(20002)]})
        await reached(source, "instances and services go", has(web=[20002]))
        await case.put({})
        doubted = await reached(source, "a registry that lost all is told", lambda found: bool(found.problems))
        assert has(web=[20002])(doubted)
        await reached(source, "and believed in the end", lambda found: not found.problems and has()(found))
        await case.put({"web": [Given(20003)]})
        await reached(source, "it goes on", has(web=[20003]))


async def test_what_was_read_last_is_there_after_a_restart_without_the_registry(case: RegistryCase) -> None:
    store = MemoryStore()
    await case.put({"web": [Given(20001)]})
    before = ImportSource(case.settings, store, pace=QUICK)
    async with running(before):
        await reached(before, "it is read", has(web=[20001]))
        revision = 0
        async with asyncio.timeout(5):
            while await store.get("imports", case.settings.name) is None:
                revision, _ = await store.changes(revision, 5)
    await case.away()
    after = ImportSource(case.settings, store, pace=QUICK)
    async with running(after):
        found = await reached(after, "it is there at once", lambda _: True)
        assert has(web=[20001])(found)
        assert not found.problems
        await reached(after, "the outage is told", lambda found: codes(found) == {"import-outdated"})
    never = ImportSource(case.settings, MemoryStore(), pace=QUICK)
    async with running(never):
        found = await reached(never, "the mesh does not wait", lambda found: codes(found) == {"import-unread"})
        assert not found.documents
