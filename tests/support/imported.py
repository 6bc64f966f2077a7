"""Running an import, or another source, in a test, and what the mesh makes of its documents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.snapshot import ConfigSnapshot
from weft.sources.contents import Contents, Source
from weft.sources.imports.source import Pace

QUICK = Pace(retry=0.05, longest_retry=0.2, first_answer=0.5, believe_empty=1.0, keep_every=0.05)


class Failures:
    """A listener that counts how often an import could not be read."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def read(self, name: str, services: int, instances: int) -> None:
        pass

    def failed(self, name: str, error: str, *, first: bool) -> None:
        self.errors.append(error)

    def recovered(self, name: str) -> None:
        pass


@contextlib.asynccontextmanager
async def running(source: Source) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def reached(source: Source, what: str, holds: Callable[[Contents], bool], seconds: float = 60.0) -> Contents:
    """The contents, when they are as wanted."""
    version = 0
    try:
        async with asyncio.timeout(seconds):
            while source.contents.value is None or not holds(source.contents.value):
                version = await source.contents.changed(version)
    except TimeoutError:
        pytest.fail(
            f"{what}: {instances(source.contents.value)}, {source.contents.value and source.contents.value.problems}"
        )
    assert source.contents.value is not None
    return source.contents.value


def instances(contents: Contents | None) -> dict[str, list[str]]:
    """By service, where its instances are, as the mesh understands the documents."""
    snapshot = ConfigSnapshot(1, contents.documents if contents is not None else ())
    memo = Memo()
    memo.begin()
    mesh = build_mesh(snapshot, memo)
    return {
        each.frontend.name: sorted(str(one.address) for _, endpoints in each.ports() for one in endpoints)
        for each in mesh.services.all
    }


def codes(contents: Contents) -> set[str]:
    return {problem.code for problem in contents.problems}


def has(**wanted: list[int]) -> Callable[[Contents], bool]:
    """Whether there are these services with instances at these ports; without one a service may be there or not."""

    def holds(contents: Contents) -> bool:
        found = {name: held for name, held in instances(contents).items() if held}
        return found == {name: [f"127.0.0.1:{port}" for port in ports] for name, ports in wanted.items()}

    return holds
