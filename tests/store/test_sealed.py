"""Sealed values: where they open and where not, rotation that is interrupted, keys that are missing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.store.memory import MemoryStore
from weft.store.protocol import ConflictError, Delete, Put, Store, StoreError
from weft.store.sealing import sealed as module
from weft.store.sealing.envelope import DataKey, NotOpenedError, is_sealed, key_id
from weft.store.sealing.sealed import KEYRING, SealedStore
from weft.store.sealing.wrappers import EnvironmentWrapper, FileWrapper, KeyWrapError, KeyWrapper, Succession
from weft.store.sqlite import open_sqlite

SECRET = "/Secret/shop/tls"
VALUE = b"the private key of the shop"


def wrapper(number: int = 1) -> KeyWrapper:
    return EnvironmentWrapper("KEY", {"KEY": base64.b64encode(bytes([number]) * 32).decode()})


async def sealed(store: Store, wrapped: KeyWrapper | None = None) -> SealedStore:
    found = SealedStore(store, wrapped or wrapper())
    await found.open()
    return found


async def raw(store: Store, bucket: str = "documents", key: str = SECRET) -> bytes:
    entry = await store.get(bucket, key)
    assert entry is not None
    return entry.value


def test_a_value_opens_at_its_place_only() -> None:
    key = DataKey(b"12345678", b"k" * 32)
    value = key.seal("documents", SECRET, VALUE)
    assert is_sealed(value)
    assert key_id(value) == b"12345678"
    assert VALUE not in value
    assert key.open("documents", SECRET, value) == VALUE
    assert value == key.seal("documents", SECRET, VALUE), "applied again, nothing changes"
    assert value[29:] != key.seal("documents", "/Secret/shop/other", VALUE)[29:]
    for other, bucket, place in (
        (key, "documents", "/Secret/pay/tls"),
        (key, "history-meta", SECRET),
        (DataKey(b"12345679", b"k" * 32), "documents", SECRET),
        (DataKey(b"12345678", b"l" * 32), "documents", SECRET),
    ):
        with pytest.raises(NotOpenedError):
            other.open(bucket, place, value)
    for index in range(len(value) - 40, len(value)):
        with pytest.raises(NotOpenedError):
            key.open("documents", SECRET, value[:index] + bytes([value[index] ^ 1]) + value[index + 1 :])
    assert repr(key).count("k" * 8) == 0


async def test_secrets_are_sealed_and_nothing_else_is() -> None:
    store = MemoryStore()
    above = await sealed(store)
    await above.write([Put("documents", SECRET, VALUE), Put("documents", "/Service/shop/a", b"plain")])
    assert VALUE not in await raw(store)
    assert await raw(store, key="/Service/shop/a") == b"plain"
    assert await raw(above) == VALUE
    _, entries = await above.list("documents")
    assert {entry.value for entry in entries} == {VALUE, b"plain"}
    revision = await above.write([Put("documents", SECRET, VALUE)])
    assert revision == (await store.list("documents"))[0], "the same again makes no revision"
    status = await above.status()
    assert (status.sealed, status.clear, status.unreadable, status.error) == (1, 0, 0, "")


class Contended(MemoryStore):
    """A store to which another control plane writes in the same moment, twice."""

    conflicts = 2

    async def write(self, *arguments: Any, **options: Any) -> int:
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("somebody was faster")
        return await super().write(*arguments, **options)


async def test_several_control_planes_may_start_at_once() -> None:
    store = Contended()
    above = await sealed(store)
    await above.write([Put("documents", SECRET, VALUE)])
    assert await raw(above) == VALUE


async def test_a_value_moved_to_another_name_is_not_given_out() -> None:
    store = MemoryStore()
    above = await sealed(store)
    await above.write([Put("documents", SECRET, VALUE)])
    await store.write([Put("documents", "/Secret/attacker/mine", await raw(store))])
    assert is_sealed(await raw(above, key="/Secret/attacker/mine"))
    assert (await above.status()).unreadable_keys == ("documents /Secret/attacker/mine",)


async def test_values_in_clear_are_sealed_at_the_next_start_and_leave_nothing_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    before = await open_sqlite(path)
    await before.write([Put("documents", SECRET, VALUE + b"%d" % number) for number in range(3)])
    await before.write([Put("documents", f"/Secret/shop/{number}", VALUE) for number in range(50)])
    await before.write([Delete("documents", "/Secret/shop/7")])
    store = SealedStore(before, wrapper())
    await store.open()
    assert await raw(store) == VALUE + b"2"
    assert VALUE not in _files(tmp_path)
    await store.close()


def _files(directory: Path) -> bytes:
    return b"".join(one.read_bytes() for one in directory.iterdir())


async def test_rotation_seals_everything_anew(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", f"/Secret/shop/{number}", VALUE) for number in range(250)])
    first, old = path.read_text(), key_id(await raw(store, key="/Secret/shop/1"))
    status = await above.rotate()
    assert (status.sealed, status.older, status.clear) == (250, 0, 0)
    assert path.read_text() != first
    assert len(path.read_text().splitlines()) == 1, "the former key is forgotten"
    assert [entry.key for entry in (await store.list(KEYRING))[1]] == [status.key]
    assert old.hex() != status.key
    again = await sealed(store, FileWrapper(path))
    assert await raw(again, key="/Secret/shop/249") == VALUE


class KilledError(Exception):
    pass


@pytest.mark.parametrize("writes", range(8))
async def test_a_rotation_that_is_killed_goes_on_at_the_next_start(tmp_path: Path, writes: int) -> None:
    """Killed before each write to the store in turn, and with the key file in each of its states."""

    class Fragile(MemoryStore):
        left = 1000

        async def write(self, *args: object, **settings: object) -> int:
            if self.left == 0:
                raise KilledError
            self.left -= 1
            return await super().write(*args, **settings)  # type: ignore[arg-type]

    store, path = Fragile(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    names = [f"/Secret/shop/{number}" for number in range(250)]
    await above.write([Put("documents", name, VALUE) for name in names])
    store.left = writes
    with contextlib.suppress(KilledError):
        await above.rotate()
    store.left = 1000
    again = await sealed(store, FileWrapper(path))
    for name in names:
        assert await raw(again, key=name) == VALUE
    status = await again.status()
    assert (status.sealed, status.older, status.unreadable) == (250, 0, 0)
    assert len((await store.list(KEYRING))[1]) == 1
    assert len(path.read_text().splitlines()) == 1
    third = await sealed(store, FileWrapper(path))
    assert await raw(third, key=names[0]) == VALUE


async def test_a_rotation_killed_between_the_files_keys_and_the_stores(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", SECRET, VALUE)])
    renewed = FileWrapper(path)
    await renewed.unwrap(await _wrapped(store))
    await renewed.renew()
    again = await sealed(store, FileWrapper(path))
    assert await raw(again) == VALUE
    assert len(path.read_text().splitlines()) == 1
    assert await raw(await sealed(store, FileWrapper(path))) == VALUE


async def _wrapped(store: Store) -> bytes:
    (entry,) = (await store.list(KEYRING))[1]
    return base64.b64decode(msgspec.json.decode(entry.value)["wrapped"])


async def test_a_missing_key_closes_secrets_and_nothing_else(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", SECRET, VALUE), Put("history-meta", "hash-key", b"h" * 32)])
    path.rename(tmp_path / "elsewhere")
    without = await sealed(store, FileWrapper(path))
    assert is_sealed(await raw(without))
    assert not path.exists()
    await without.write([Put("documents", "/Service/shop/a", b"plain")])
    with pytest.raises(StoreError, match="nothing was written"):
        await without.write([Put("documents", SECRET, b"another"), Put("documents", "/Service/shop/b", b"plain")])
    assert await without.get("documents", "/Service/shop/b") is None
    with pytest.raises(StoreError):
        await without.rotate()
    (problem,) = without.problems()
    assert problem.code == "secrets-sealed"
    assert str(path) in problem.message
    status = await without.status()
    assert (status.unreadable, status.key) == (2, "")
    await without.write([Delete("documents", SECRET)])
    assert await store.get("documents", SECRET) is None, "what cannot be read can be deleted"


async def test_a_key_that_comes_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", SECRET, VALUE)])
    path.rename(tmp_path / "elsewhere")
    without = await sealed(store, FileWrapper(path))
    entry = await store.get("documents", SECRET)
    assert entry is not None
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    task = asyncio.create_task(without.run())
    (tmp_path / "elsewhere").rename(path)
    async with asyncio.timeout(60):
        revision, places = await store.changes(entry.revision, 10)
        while ("documents", SECRET) not in places:
            revision, places = await store.changes(revision, 10)
    assert await raw(without) == VALUE
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_lost_key_is_given_up(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", SECRET, VALUE), Put("history-meta", "hash-key", b"h" * 32)])
    with pytest.raises(StoreError, match="nothing to give up"):
        await above.begin_anew()
    path.unlink()
    without = await sealed(store, FileWrapper(path))
    status = await without.begin_anew()
    assert (status.error, status.unreadable_keys) == ("", (f"documents {SECRET}",))
    assert await without.get("history-meta", "hash-key") is None
    assert is_sealed(await raw(without)), "it is there, and proxies keep theirs"
    await without.write([Put("documents", SECRET, b"again")])
    again = await sealed(store, FileWrapper(path))
    assert await raw(again) == b"again"
    assert not again.problems()


async def test_a_damaged_keyring_closes_what_it_sealed(tmp_path: Path) -> None:
    store = MemoryStore()
    above = await sealed(store)
    await above.write([Put("documents", SECRET, VALUE)])
    (entry,) = (await store.list(KEYRING))[1]
    for name, value in ((entry.key, b"{"), (entry.key, b'{"wrapped": 1}'), ("no hex", entry.value)):
        await store.write([Put(KEYRING, name, value)])
        again = await sealed(store)
        assert is_sealed(await raw(again))
        await again.write([Put("documents", "/Secret/shop/new", b"new")])
        assert await raw(again, key="/Secret/shop/new") == b"new"


async def test_one_wrapper_takes_over_from_another(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "store.key"
    above = await sealed(store, FileWrapper(path))
    await above.write([Put("documents", SECRET, VALUE)])
    taking_over = await sealed(store, Succession(wrapper(1), FileWrapper(path)))
    assert await raw(taking_over) == VALUE
    path.unlink()
    assert await raw(await sealed(store, wrapper(1))) == VALUE
    assert (await sealed(store, wrapper(2))).problems()


async def test_two_control_planes_of_one_store() -> None:
    """One rotates while the other still seals with the former key: neither loses a value."""
    store = MemoryStore()
    one, two = await sealed(store), await sealed(store)
    await one.write([Put("documents", SECRET, b"1")])
    assert await raw(two) == b"1"
    await two.rotate()
    await one.write([Put("documents", SECRET, b"2"), Put("documents", "/Secret/shop/x", b"x")])
    assert await raw(two) == b"2"
    assert len((await store.list(KEYRING))[1]) == 1
    with pytest.raises(ConflictError):
        await one.write([Put("documents", SECRET, b"3")], {("documents", SECRET): 1})


async def test_a_wrapper_that_lies_is_found_out() -> None:
    class Lying(EnvironmentWrapper):
        async def unwrap(self, wrapped: bytes) -> bytes:
            return b"x" * 32

    store = MemoryStore()
    above = await sealed(store, Lying("KEY", {"KEY": "00" * 32}))
    assert "does not give back" in above.problems()[0].message
    assert (await store.list(KEYRING))[1] == ()
    with pytest.raises(KeyWrapError):
        await wrapper(2).unwrap(await wrapper(1).wrap(b"a" * 32))
