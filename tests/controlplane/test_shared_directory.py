"""Files that all control planes have: what somebody has put back while they run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from weft.controlplane.shared_directory import SharedFiles
from weft.settings.private import write_atomically
from weft.sources.kubernetes.shared.repository import SecretRepository
from weft.sources.kubernetes.shared.secret import HeldSecret, VersionedSecret
from weft.store.shared.repository import RepositoryError
from weft.testing.polling import eventually


class MemorySecret(VersionedSecret):
    """A Secret in memory."""

    def __init__(self) -> None:
        self.held: HeldSecret | None = None
        self.changed = asyncio.Event()

    @property
    def name(self) -> str:
        """What people call it."""
        return "Secret weft-system/weft-ca"

    async def get(self) -> HeldSecret | None:
        """What it holds now."""
        return self.held

    async def put(self, data: Mapping[str, bytes], version: str, kind: str = "") -> str | None:
        """Replace what a version holds."""
        if version != (self.held.version if self.held is not None else ""):
            return None
        self.restore(data)
        assert self.held is not None
        return self.held.version

    def restore(self, data: Mapping[str, bytes]) -> None:
        """What anybody may do."""
        number = int(self.held.version) + 1 if self.held is not None else 1
        self.held = HeldSecret(dict(data), str(number))
        self.changed.set()

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[HeldSecret]]:
        """What it holds after `version`."""
        yield self._changes()

    async def _changes(self) -> AsyncIterator[HeldSecret]:
        while True:
            await self.changed.wait()
            self.changed.clear()
            assert self.held is not None
            yield self.held


async def test_what_was_put_back_while_it_runs_is_told_and_not_taken(tmp_path: Path) -> None:
    secret = MemorySecret()
    files = SharedFiles(secret, tmp_path / "ca", ("root.pem",))

    async def prepare(directory: Path) -> None:
        if not (directory / "root.pem").exists():
            write_atomically(directory / "root.pem", "first")

    await files.begin(prepare)
    assert secret.held is not None
    backup = secret.held.data
    await files.change(lambda copy: write_atomically(copy / "root.pem", "second"))
    newest = secret.held.data
    following = asyncio.create_task(files.run())
    try:
        secret.restore(backup)
        await eventually("it is told", files.problems)
        [problem] = files.problems()
        assert problem.code == "state-not-followed"
        assert "holds something older than what is in force here" in problem.message
        assert (tmp_path / "ca" / "root.pem").read_text() == "second"
        secret.restore(newest)
        await eventually("all is well again", lambda: not files.problems())
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


class Html:
    """A proxy before the API server that has its own idea of an answer."""

    body = b"<html>sign in</html>"

    async def get(self, *_: object) -> Html:
        """The same for everything."""
        return self


async def test_an_answer_of_somebody_else_is_no_list_of_parts() -> None:
    repository = SecretRepository(Html(), "weft-system")  # type: ignore[arg-type]
    with pytest.raises(RepositoryError, match="cannot be read"):
        await repository.parts()
