"""What is particular to the SQLite store: permissions, restarts, crashes, broken files."""

import asyncio
import signal
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from weft.store.protocol import Put, StoreError
from weft.store.sqlite import open_sqlite

WRITER = """
import asyncio, sys
from pathlib import Path
from weft.store.protocol import Put
from weft.store.sqlite import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        await store.write([Put(sys.argv[2], f"k{number}", b"x" * 500), Put(sys.argv[2], "last", str(number).encode())])
        print(number, flush=True)

asyncio.run(main())
"""


def _modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_files_are_private(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    await store.write([Put("b", "k", b"secret")])
    modes = _modes(tmp_path)
    await store.close()
    assert "weft.db-wal" in modes
    assert set(modes.values()) == {0o600}


async def test_a_readable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    path.touch()
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        await open_sqlite(path)


async def test_reopening_finds_everything(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    await store.write([Put("workloads", "ns/a", b"{}")])
    await store.extend({"ns/a": 50.0})
    await store.close()
    again = await open_sqlite(tmp_path / "weft.db")
    try:
        assert await again.leases() == {"ns/a": 50.0}
        assert await again.changes(0, 0) == (1, (("workloads", "ns/a"),))
        assert await again.write([Put("b", "k", b"")]) == 2
    finally:
        await again.close()


async def test_a_registration_whose_renewals_were_lost_has_a_lease(tmp_path: Path) -> None:
    """As after a crash: the restart's grace is what holds it."""
    store = await open_sqlite(tmp_path / "weft.db", lambda: 40.0)
    await store.write([Put("workloads", "ns/a", b"{}"), Put("other", "ns/b", b"{}")], leases={"ns/a": 50.0})
    await store._run(store._close)
    again = await open_sqlite(tmp_path / "weft.db")
    try:
        assert await again.leases() == {"ns/a": 40.0}
        assert await again.expire(39.0) == ((), 40.0)
    finally:
        await again.close()


async def test_sigkill_loses_no_confirmed_write(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    for bucket in ("first", "second"):
        confirmed = 0
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), bucket, stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        async with asyncio.timeout(60):
            while confirmed < 25:
                confirmed = int(await writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        if lines := (await writer.stdout.read()).split():
            confirmed = int(lines[-1])
        await writer.wait()
        store = await open_sqlite(path)
        try:
            last = await store.get(bucket, "last")
            assert last is not None
            assert int(last.value) >= confirmed
            _, entries = await store.list(bucket)
            assert len(entries) == int(last.value) + 1, "a batch is all or nothing, and none is lost"
        finally:
            await store.close()


async def test_a_cancelled_caller_leaves_the_watch_intact(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    writing = asyncio.create_task(store.write([Put("b", "k", b"")]))
    await asyncio.sleep(0)
    writing.cancel()
    assert await store.changes(0, 5) == (1, (("b", "k"),))
    await store.close()


async def test_a_replaced_file_takes_no_writes(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    await store.write([Put("b", "k", b"1")])
    (tmp_path / "weft.db").unlink()
    with pytest.raises(StoreError, match="does not answer"):
        await store.write([Put("b", "k", b"2")])
    entry = await store.get("b", "k")
    assert entry is not None
    assert entry.value == b"1", "what was known is still served"
    await store.close()


async def test_leases_that_cannot_be_ended_stay(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    await store.write([Put("workloads", "ns/a", b"")], leases={"ns/a": 10.0})
    (tmp_path / "weft.db").rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(StoreError, match="does not answer"):
            await store.expire(20.0)
    assert await store.leases() == {"ns/a": 10.0}
    (tmp_path / "away").rename(tmp_path / "weft.db")
    assert await store.expire(20.0) == (("ns/a",), float("inf"))
    await store.close()


async def test_a_locked_or_foreign_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"this is no database, and long enough to be seen as none" * 20)
    (tmp_path / "junk.db").chmod(0o600)
    with pytest.raises(StoreError, match="not a database"):
        await open_sqlite(tmp_path / "junk.db")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    (tmp_path / "newer.db").chmod(0o600)
    with pytest.raises(StoreError, match="format 99"):
        await open_sqlite(tmp_path / "newer.db")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "weft.db")
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.get("b", "k")
