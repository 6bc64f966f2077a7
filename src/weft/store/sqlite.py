"""SqliteStore: the Store protocol in one SQLite file (WAL), used by one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from weft.aio.cell import Cell
from weft.store.leases import LeaseTable
from weft.store.memory import KEEP_REVISIONS, check_expected, check_kept, chosen_leases, last_changes, wait_revision
from weft.store.protocol import LEASED_BUCKET, Change, Delete, Entry, Put, StoreError

ResultT = TypeVar("ResultT")
Place = tuple[str, str]
"""Bucket and key."""
SCHEMA_VERSION = 1
LEASE_FLUSH_SECONDS = 30.0
"""Renewals reach the disk this late. After a crash the restart's grace covers those that were lost."""
_READ_AT_ONCE = 500
_REMEMBERED = 256
"""Revisions whose changes are known without reading the file."""

_SCHEMA = """
CREATE TABLE entries (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,
  created REAL NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE changes (revision INTEGER NOT NULL, bucket TEXT NOT NULL, key TEXT NOT NULL,
  PRIMARY KEY (revision, bucket, key)) WITHOUT ROWID;
CREATE TABLE leases (key TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE head (revision INTEGER NOT NULL);
INSERT INTO head VALUES (0);
"""


@dataclass(frozen=True, slots=True)
class _Written:
    """The store's revision after a write, and what changed with it."""

    revision: int
    places: tuple[Place, ...] = ()


class SqliteStore:
    """See `weft.store.protocol.Store`. Made by `open_sqlite`; SQL and leases are touched on one worker thread only."""

    def __init__(self, path: Path, clock: Callable[[], float], keep: int) -> None:
        self._path = path
        self._clock = clock
        self._keep = keep
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weft-store")
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._revision = Cell(0)
        self._recent: dict[int, tuple[Place, ...]] = {}
        self._leases = LeaseTable()
        self._renewed: set[str] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Open or create the file; StoreError if that cannot be done."""
        try:
            revision = await self._run(self._open)
        except BaseException:
            self._worker.shutdown(wait=False)
            raise
        self._revision.set(revision)

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""
        return await self._run(lambda: self._get(bucket, key))

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """The revision and the entries named, by key."""
        wanted = sorted(set(keys))
        return await self._run(lambda: self._read(bucket, wanted))

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """The revision and the entries of a bucket, by key."""
        return await self._run(lambda: self._list(bucket))

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[Place, int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """All changes or none, on the disk when this returns. Cancelling the caller does not undo a write."""
        final, wanted, ends = last_changes(changes), dict(expect or {}), dict(leases or {})
        revision = await self._told(lambda: self._write(final, wanted, ends))
        if ends:
            self._flush_soon()
        return revision

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[Place, ...]]:
        """Wait for writes later than `after`."""
        await wait_revision(self._revision, after, timeout)
        revision = self._revision.value
        numbers = range(after + 1, revision + 1)
        if after > revision or any(number not in self._recent for number in numbers):
            return await self._run(lambda: self._changes(after))
        return revision, tuple(sorted({place for number in numbers for place in self._recent[number]}))

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """Set when leases end; written to the file some time later. The keys that have no entry."""
        ends = dict(leases)
        gone = await self._run(lambda: self._extend(ends))
        if len(gone) < len(ends):
            self._flush_soon()
        return gone

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """Delete entries whose leases are over."""
        return await self._told(lambda: self._expire(now))

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """When leases end."""
        return await self._run(lambda: chosen_leases(self._leases, keys))

    async def forget(self) -> None:
        """Write the file anew, and empty its log."""
        await self._run(self._forget)

    async def close(self) -> None:
        """Write what is pending and release the file."""
        if self._flush is not None:
            self._flush.cancel()
            self._start_flush()
        if self._flushing is not None:
            await self._flushing
        await self._run(self._close)
        self._worker.shutdown(wait=True)

    async def _run(self, job: Callable[[], ResultT]) -> ResultT:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, job)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the store {self._path} does not answer: {error}") from error
        except RuntimeError as error:
            raise StoreError(f"the store {self._path} is closed") from error

    async def _told(self, job: Callable[[], tuple[_Written, ResultT]]) -> ResultT:
        """The result of a job that writes. Those who follow the store hear of it, also when the caller is cancelled
        meanwhile."""

        async def run() -> ResultT:
            written, result = await self._run(job)
            if written.places:
                self._recent[written.revision] = written.places
                self._recent.pop(written.revision - min(self._keep, _REMEMBERED), None)
            if written.revision > self._revision.value:
                self._revision.set(written.revision)
            return result

        return await asyncio.shield(asyncio.ensure_future(run()))

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(LEASE_FLUSH_SECONDS, self._start_flush)

    def _start_flush(self) -> None:
        self._flush = None
        self._flushing = asyncio.ensure_future(self._write_leases())

    async def _write_leases(self) -> None:
        with contextlib.suppress(StoreError):  # the next renewal tries again, and writes report a broken store
            await self._run(self._save_leases)

    # What follows runs on the worker thread.

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        status = self._path.stat()
        if status.st_mode & 0o077:
            raise StoreError(f"{self._path} can be read by others: chmod 600 it, and think about the secrets in it")
        self._inode = status.st_ino
        self._database = database = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")  # what was deleted is not left in the file
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            script = f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            database.executescript(script)
        elif version != SCHEMA_VERSION:
            raise StoreError(f"{self._path} has format {version}, this weft reads {SCHEMA_VERSION}: use the other weft")
        query = "SELECT key, coalesce(expires, created) FROM entries LEFT JOIN leases USING (key) WHERE bucket = ?"
        self._leases = LeaseTable(dict(database.execute(query, (LEASED_BUCKET,)).fetchall()))
        return self._head()

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError(f"the store {self._path} is closed")
        return self._database

    def _get(self, bucket: str, key: str) -> Entry | None:
        query = "SELECT bucket, key, value, revision, created FROM entries WHERE bucket = ? AND key = ?"
        row = self._connection().execute(query, (bucket, key)).fetchone()
        return None if row is None else Entry(*row)

    def _list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        query = "SELECT bucket, key, value, revision, created FROM entries WHERE bucket = ? ORDER BY key"
        rows = self._connection().execute(query, (bucket,)).fetchall()
        return self._head(), tuple(Entry(*row) for row in rows)

    def _read(self, bucket: str, keys: Sequence[str]) -> tuple[int, tuple[Entry, ...]]:
        rows = []
        for start in range(0, len(keys), _READ_AT_ONCE):
            part = keys[start : start + _READ_AT_ONCE]
            query = (
                "SELECT bucket, key, value, revision, created FROM entries "  # noqa: S608 - marks only
                f"WHERE bucket = ? AND key IN ({', '.join('?' * len(part))}) ORDER BY key"
            )
            rows += self._connection().execute(query, (bucket, *part)).fetchall()
        return self._head(), tuple(Entry(*row) for row in rows)

    def _head(self) -> int:
        (revision,) = self._connection().execute("SELECT revision FROM head").fetchone()
        return int(revision)

    def _changes(self, after: int) -> tuple[int, tuple[Place, ...]]:
        revision = self._head()
        check_kept(after, revision, self._keep)
        query = "SELECT DISTINCT bucket, key FROM changes WHERE revision > ? ORDER BY bucket, key"
        rows: list[Place] = self._connection().execute(query, (after,)).fetchall()
        return revision, tuple(rows)

    def _write(
        self, final: dict[Place, Change], expect: dict[Place, int], leases: dict[str, float]
    ) -> tuple[_Written, int]:
        if self._path.stat().st_ino != self._inode:
            raise StoreError(f"{self._path} was replaced while in use: restart the control plane")
        with self._transaction() as database:
            written = self._apply(database, final, expect)
        for bucket, key in written.places:
            if bucket == LEASED_BUCKET and isinstance(final[bucket, key], Delete):
                self._leases.drop(key)
            elif bucket == LEASED_BUCKET and key not in self._leases.ends:
                self._leases.set(key, leases.get(key, self._clock()))
        self._extend(leases)
        return written, written.revision

    def _extend(self, leases: dict[str, float]) -> frozenset[str]:
        gone = frozenset(key for key in leases if key not in self._leases.ends)
        for key, end in leases.items():
            if key not in gone:
                self._leases.set(key, end)
                self._renewed.add(key)
        return gone

    def _expire(self, now: float) -> tuple[_Written, tuple[tuple[str, ...], float]]:
        keys = self._leases.over(now)
        written = _Written(0)
        if keys:
            written, _ = self._write({(LEASED_BUCKET, key): Delete(LEASED_BUCKET, key) for key in keys}, {}, {})
        return written, (keys, self._leases.first())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._connection()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _apply(self, database: sqlite3.Connection, final: dict[Place, Change], expect: dict[Place, int]) -> _Written:
        for place, wanted in expect.items():
            held = self._get(*place)
            check_expected(place, wanted, held.revision if held else 0)
        before = self._head()
        revision = before + 1
        touched = tuple(place for place, change in final.items() if self._change(database, change, revision))
        if not touched:
            return _Written(before)
        database.executemany("INSERT INTO changes VALUES (?, ?, ?)", [(revision, *place) for place in touched])
        database.execute("DELETE FROM changes WHERE revision <= ?", (revision - self._keep,))
        database.execute("UPDATE head SET revision = ?", (revision,))
        return _Written(revision, touched)

    def _change(self, database: sqlite3.Connection, change: Change, revision: int) -> bool:
        if isinstance(change, Put):
            statement = (
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE "
                "SET value = excluded.value, revision = excluded.revision WHERE value != excluded.value"
            )
            row = (change.bucket, change.key, change.value, revision, self._clock())
            return database.execute(statement, row).rowcount > 0
        if change.bucket == LEASED_BUCKET:
            database.execute("DELETE FROM leases WHERE key = ?", (change.key,))
        statement = "DELETE FROM entries WHERE bucket = ? AND key = ?"
        return database.execute(statement, (change.bucket, change.key)).rowcount > 0

    def _save_leases(self) -> None:
        """Write the leases renewed since the last time."""
        rows = [(key, self._leases.ends[key]) for key in self._renewed if key in self._leases.ends]
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?)", rows)
        self._renewed.clear()

    def _forget(self) -> None:
        database = self._connection()
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


async def open_sqlite(path: Path, clock: Callable[[], float] = time.time, keep: int = KEEP_REVISIONS) -> SqliteStore:
    """The store in `path`, created with mode 0600 if absent. StoreError says why it cannot be used."""
    store = SqliteStore(path, clock, keep)
    await store.open()
    return store
