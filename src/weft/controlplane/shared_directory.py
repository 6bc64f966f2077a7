"""Files of the home that all control planes of a cluster have: a Secret holds them, and the home is what is read of it.

The private directory is only a copy, so it may be in memory. A change is made to a copy of its own, put into the Secret
if nobody has changed that since, and only then in force: what is lost on the way was never in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from weft.aio.backoff import Backoff
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.settings.private import make_private_directory, write_atomically
from weft.sources.kubernetes.shared.secret import HeldSecret, VersionedSecret
from weft.store.shared.repository import RepositoryError

ResultT = TypeVar("ResultT")
_SERIAL = "serial"
"""A key of the Secret: how often it was changed."""
_TRIES = 20
_log = logging.getLogger("weft.shared")


class SharedFiles:
    """See `weft.settings.shared.SharedDirectory` and the module. `names` are patterns of the files; `last` is written
    last, where one says what the others are. `told` are called when another control plane has changed something."""

    def __init__(self, secret: VersionedSecret, directory: Path, names: Collection[str], last: str = "") -> None:
        self._secret = secret
        self._directory = directory
        self._names = tuple(names)
        self._last = last
        self._version = ""
        self._serial = -1
        self._problem = ""
        self._put_back = False
        self.told: list[Callable[[], None]] = []

    async def begin(self, prepare: Callable[[Path], Awaitable[None]]) -> None:
        """At the start: have what all have, as `prepare` wants it; the first one makes it. OSError if it cannot be
        read or made; what `prepare` raises."""
        make_private_directory(self._directory)
        for left in self._directory.parent.glob(f".{self._directory.name}.copy-*"):
            shutil.rmtree(left, ignore_errors=True)
        for _ in range(_TRIES):
            held = await self._get()
            if held is not None:
                self._take(held)
            await prepare(self._directory)
            if held is not None and self._files(self._directory) == self._of(held):
                return
            if await self._put(self._files(self._directory), held):
                return
        raise OSError(f"{self._secret.name}: other control planes change it all the time")

    async def change(self, work: Callable[[Path], ResultT]) -> ResultT:
        """See the protocol."""
        for _ in range(_TRIES):
            held = await self._get()
            async with self._copy(held) as directory:
                result = work(directory)
                files = self._files(directory)
            if held is not None and files == self._of(held):
                self._take(held)
                return result
            if await self._put(files, held):
                return result
        raise OSError(f"{self._secret.name}: other control planes change it all the time")

    async def fetch(self) -> None:
        """See the protocol."""
        before = self._serial
        held = await self._get()
        if held is not None:
            if (
                before == self._serial or _serial_of(held) >= self._serial
            ):  # else it was read before it was changed here
                self._take(held)
        elif self._serial >= 0 and await self._put(self._files(self._directory), None):
            _log.warning("%s was deleted: it is made again of what is here", self._secret.name)

    async def run(self) -> None:
        """Follow what others change, for ever."""
        wait, loop = Backoff(0.2, 15.0), asyncio.get_running_loop()
        while True:
            try:
                await self.fetch()
                self._problem = ""
                begun = loop.time()
                async with self._secret.watch(self._version) as changes:
                    async for held in changes:
                        self._take(held)
                        wait.reset()
                wait.lasted(loop.time() - begun)  # where nothing changes, nothing is said
            except RepositoryError as error:
                self._failed(str(error))
            except OSError as error:
                self._failed(str(error))
            await asyncio.sleep(wait.next())

    def problems(self) -> tuple[Problem, ...]:
        """Why others' changes are not seen, or not taken."""
        if self._put_back:
            text = f"{self._secret.name} holds something older than what is in force here, as if it was put back"
            expected = "all control planes to be restarted together after that: scale to 0 and back (docs/replicas.md)"
            return (Problem(Severity.ERROR, "state-not-followed", text, Origin("weft"), expected=expected),)
        if not self._problem:
            return ()
        text = f"{self._secret.name} cannot be followed: {self._problem}; what was read last stays in force"
        expected = "an API server that answers, and a Role that allows get, watch and update of it"
        return (Problem(Severity.ERROR, "state-not-followed", text, Origin("weft"), expected=expected),)

    def _failed(self, text: str) -> None:
        if not self._problem:
            _log.warning("%s cannot be followed: %s", self._secret.name, text)
        self._problem = text

    async def _get(self) -> HeldSecret | None:
        try:
            return await self._secret.get()
        except RepositoryError as error:
            raise OSError(f"{self._secret.name}: {error}") from error

    async def _put(self, files: Mapping[str, bytes], held: HeldSecret | None) -> bool:
        """Whether it was not changed since `held`. If the answer is lost, the next look says whether it was done."""
        serial = max(self._serial, _serial_of(held) if held is not None else 0) + 1
        before, kind, data = "", "", {**files, _SERIAL: str(serial).encode()}
        if held is not None:
            mine = self._of(held)
            before, kind = held.version, held.type
            data = {name: value for name, value in held.data.items() if name not in mine} | data
        try:
            version = await self._secret.put(data, before, kind)
        except RepositoryError as error:
            found = await self._get() if error.unknown else None
            if found is None or dict(found.data) != data:
                raise OSError(f"{self._secret.name}: {error}") from error
            version = found.version
        if version is None:
            return False
        self._take(HeldSecret(data, version))
        return True

    def _take(self, held: HeldSecret) -> None:
        """Write what is newer into the directory."""
        serial = _serial_of(held)
        files = self._of(held)
        self._put_back = serial < self._serial and files != self._files(self._directory)
        if serial < self._serial or held.version == self._version:
            return
        if files != self._files(self._directory):
            self._write(self._directory, files)
        first = self._serial < 0
        self._version, self._serial = held.version, serial
        if not first:
            for tell in self.told:
                tell()

    def _write(self, directory: Path, files: Mapping[str, bytes]) -> None:
        for name in sorted(files, key=lambda name: name == self._last):
            write_atomically(directory / name, files[name])
        for name in self._files(directory).keys() - files.keys():
            (directory / name).unlink(missing_ok=True)

    def _files(self, directory: Path) -> dict[str, bytes]:
        found = (path for path in directory.iterdir() if self._is_shared(path.name))
        return {path.name: path.read_bytes() for path in found if path.is_file() and not path.is_symlink()}

    def _of(self, held: HeldSecret) -> dict[str, bytes]:
        return {name: data for name, data in held.data.items() if self._is_shared(name)}

    def _is_shared(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._names)

    @contextlib.asynccontextmanager
    async def _copy(self, held: HeldSecret | None) -> AsyncIterator[Path]:
        """A private directory for a moment, with what `held` has."""
        path = self._directory.with_name(f".{self._directory.name}.copy-{secrets.token_hex(4)}")
        make_private_directory(path)
        try:
            self._write(path, self._of(held) if held is not None else {})
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _serial_of(held: HeldSecret) -> int:
    text = held.data.get(_SERIAL, b"0")
    return int(text) if text.isdigit() and len(text) < 19 else 0
