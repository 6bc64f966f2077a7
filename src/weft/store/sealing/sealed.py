"""SealedStore: a Store whose secret values are encrypted before they reach the one behind it.

Data keys lie in the store themselves, wrapped by a `KeyWrapper`. The newest seals; older ones open until nothing is
sealed with them. What cannot be opened is given out as it lies there: who decodes it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.store.protocol import Change, ConflictError, Delete, Entry, Put, Store, StoreError
from weft.store.sealing.envelope import ID_BYTES, DataKey, NotOpenedError, is_sealed, key_id
from weft.store.sealing.wrappers import KEY_BYTES, KeyWrapError, KeyWrapper

KEYRING = "keyring"
DOCUMENTS = "documents"
SEALED: Mapping[str, str] = {DOCUMENTS: "/Secret/", "history-meta": "", "audit-meta": "", "own-keys": ""}
"""Buckets with secret values, and how the keys of those begin: Secrets, and keys of the control plane's own, such as
those of the history's and the audit's hashes. Tokens are not among them: only their hashes are kept."""
_AT_ONCE = 100
_RETRY_SECONDS = 30.0
_ATTEMPTS = 20
_log = logging.getLogger("weft.secrets")


class _Wrapped(msgspec.Struct, frozen=True):
    """A data key as it lies in the store. `by` tells which wrapper it was."""

    wrapped: bytes
    by: str
    created: float


@dataclass(frozen=True, slots=True)
class SecretsStatus:
    """How the secrets are kept. `key` is the data key that seals (empty: none can be had, `error` says why), `since`
    when it was made; `sealed`, `older`, `clear` and `unreadable` count values: sealed with that key, with an older one,
    not at all, and with one that is not known. `unreadable_keys` are places of the last."""

    wrapper: str
    key: str
    since: float
    sealed: int
    older: int
    clear: int
    unreadable: int
    unreadable_keys: tuple[str, ...]
    error: str


class SealedStore:
    """See `weft.store.protocol.Store`, and the module. `open` it first."""

    def __init__(
        self,
        store: Store,
        wrapper: KeyWrapper,
        places: Mapping[str, str] = SEALED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._wrapper = wrapper
        self._places = places
        self._clock = clock
        self._keys: dict[bytes, DataKey] = {}
        self._active: DataKey | None = None
        self._active_revision = 0
        self._foreign: frozenset[bytes] = frozenset()
        self._since = 0.0
        self._error = ""

    # keys

    async def open(self) -> None:
        """Read the data keys, make the first one, and seal what lies there in clear. StoreError. Where the wrapper does
        not do its part, the store works but for secrets. Several control planes may do this at once."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(ConflictError):
                await self._open()
                return
        await self._open()

    async def _open(self) -> None:
        try:
            await self._read_keys()
        except KeyWrapError as error:
            self._fail(str(error))
            return
        if self._active is None:
            try:
                await self._new_key()
            except KeyWrapError as error:
                self._fail(str(error))
                return
        await self._tidy()

    async def run(self) -> None:
        """Where the wrapper did not do its part, try again for ever; what was unreadable is then sealed anew, so that
        those who follow the store read it again."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            if self._error:
                try:
                    await self._read_keys()
                    await self._new_key()
                    self._error = ""
                    await self._tidy()
                    _log.info("the store's secrets can be read again")
                except (KeyWrapError, StoreError) as error:
                    self._error = str(error)

    async def rotate(self, also: Sequence[Change] = ()) -> SecretsStatus:
        """A new key of the wrapper, where it makes its keys itself, and a new data key, with which `also` is written in
        one step; everything is sealed with it. Killed at any step, the next start goes on from there. StoreError."""
        if self._error:
            raise StoreError(f"secrets cannot be sealed anew: {self._error}")
        try:
            await self._wrapper.renew()
            await self._new_key(also)
        except KeyWrapError as error:
            raise StoreError(f"secrets cannot be sealed anew: {error}") from error
        await self._tidy()
        return await self.status()

    async def begin_anew(self, also: Sequence[Change] = ()) -> SecretsStatus:
        """Give up the keys that cannot be had: a new one seals from now on. Documents that cannot be read stay as they
        are until they are written again, so that proxies keep what they have; other values that cannot be read are
        forgotten. `also` is written in the same step. StoreError if there is no need, or no new key."""
        if not self._error:
            raise StoreError("the store's key is here: there is nothing to give up")
        held = (await self._store.list(KEYRING))[1]
        lost = [one for one in await self._secret_entries() if is_sealed(one.value) and self._opened(one) is one]
        gone: list[Change] = [Delete(KEYRING, one.key) for one in held]
        gone += [Delete(one.bucket, one.key) for one in lost if one.bucket != DOCUMENTS]
        former, self._error, self._active, self._keys = self._error, "", None, {}
        try:
            await self._new_key([*gone, *also])
        except (KeyWrapError, StoreError) as error:
            self._error = f"{error} (before: {former})"
            raise StoreError(f"no new key can be had: {error}") from error
        await self._tidy()
        return await self.status()

    async def status(self) -> SecretsStatus:
        """How secrets are kept now."""
        counts = {"sealed": 0, "older": 0, "clear": 0, "unreadable": 0}
        unreadable: list[str] = []
        active = self._active.id if self._active else b""
        for entry in await self._secret_entries():
            if not is_sealed(entry.value):
                counts["clear"] += 1
            elif self._opened(entry) is entry:
                counts["unreadable"] += 1
                unreadable.append(f"{entry.bucket} {entry.key}")
            else:
                counts["sealed" if key_id(entry.value) == active else "older"] += 1
        return SecretsStatus(
            self._wrapper.name,
            active.hex(),
            self._since,
            **counts,
            unreadable_keys=tuple(unreadable[:_AT_ONCE]),
            error=self._error,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What keeps secrets from being read or written."""
        if not self._error:
            return ()
        text = (
            f"the store's secrets cannot be read or changed: {self._error}. Proxies keep the certificates that they "
            "have; gateways that start now wait for theirs"
        )
        expected = "the key that this store was sealed with (weft secrets status)"
        return (Problem(Severity.ERROR, "secrets-sealed", text, Origin("store"), expected=expected),)

    def _fail(self, error: str) -> None:
        self._error = error
        _log.error("the store's secrets cannot be read: %s", error)

    async def _read_keys(self) -> None:
        """The data keys by which values may be sealed. KeyWrapError if the newest cannot be had; without an older one
        some values stay closed."""
        _, entries = await self._store.list(KEYRING)
        rows = [(wrapped, entry) for entry in entries if (wrapped := _wrapped(entry)) is not None]
        rows.sort(key=lambda row: (row[0].created, row[1].key))
        keys = {}
        for wrapped, entry in rows:
            name = bytes.fromhex(entry.key)
            try:
                keys[name] = self._keys.get(name) or DataKey(name, await self._unwrapped(wrapped))
            except KeyWrapError as error:
                if entry is rows[-1][1]:
                    raise
                _log.warning("the data key %s of the store cannot be had: %s", entry.key, error)
        self._keys = keys
        if rows:
            newest, entry = rows[-1]
            self._active, self._active_revision = keys[bytes.fromhex(entry.key)], entry.revision
            self._since = newest.created

    async def _unwrapped(self, wrapped: _Wrapped) -> bytes:
        secret = await self._wrapper.unwrap(wrapped.wrapped)
        if len(secret) != KEY_BYTES:
            raise KeyWrapError(f"{self._wrapper.name} gave a key of {len(secret)} bytes")
        return secret

    async def _new_key(self, also: Sequence[Change] = ()) -> None:
        key = DataKey(secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES))
        created = max(self._clock(), self._since + 0.001)
        wrapped = _Wrapped(await self._wrapper.wrap(key.secret), self._wrapper.name, created)
        if await self._wrapper.unwrap(wrapped.wrapped) != key.secret:
            raise KeyWrapError(f"{self._wrapper.name} does not give back what it was given")
        put = Put(KEYRING, key.id.hex(), msgspec.json.encode(wrapped))
        self._active_revision = await self._store.write([*also, put], {(KEYRING, key.id.hex()): 0})
        self._keys[key.id] = self._active = key
        self._since = wrapped.created

    async def _tidy(self) -> None:
        """Seal with the newest key what is not, wrap that key with the wrapper's newest, and forget what is of no use
        any more."""
        changed = False
        for _ in range(_ATTEMPTS):
            left = [entry for entry in await self._secret_entries() if self._wants_sealing(entry)]
            if not left:
                break
            changed = True
            for start in range(0, len(left), _AT_ONCE):
                await self._seal_again(left[start : start + _AT_ONCE])
        in_use = {key_id(entry.value) for entry in await self._secret_entries() if is_sealed(entry.value)}
        old = [key for key in self._keys if self._active is not None and key != self._active.id and key not in in_use]
        if old:
            await self._store.write([Delete(KEYRING, key.hex()) for key in old])
            self._keys = {key: one for key, one in self._keys.items() if key not in old}
        if changed or old:
            await self._store.forget()
        try:
            await self._wrap_again()
            await self._wrapper.retire()
        except KeyWrapError as error:
            _log.warning("an older key of %s stays in use: %s", self._wrapper.name, error)

    async def _wrap_again(self) -> None:
        """Wrap with the wrapper's newest key whatever data keys an older one has wrapped."""
        for entry in (await self._store.list(KEYRING))[1]:
            wrapped = _wrapped(entry)
            if wrapped is None:
                continue
            if wrapped.by != self._wrapper.name or not self._wrapper.is_current(wrapped.wrapped):
                secret = await self._unwrapped(wrapped)
                new = _Wrapped(await self._wrapper.wrap(secret), self._wrapper.name, wrapped.created)
                put, place = Put(KEYRING, entry.key, msgspec.json.encode(new)), (KEYRING, entry.key)
                revision = await self._store.write([put], {place: entry.revision})
                if self._active is not None and entry.key == self._active.id.hex():
                    self._active_revision = revision

    def _wants_sealing(self, entry: Entry) -> bool:
        if not is_sealed(entry.value):
            return True
        return self._active is not None and key_id(entry.value) != self._active.id and self._opened(entry) is not entry

    async def _seal_again(self, entries: Sequence[Entry]) -> None:
        opened = [self._opened(entry) for entry in entries]
        try:
            await self._store.write(
                [self._sealed(Put(one.bucket, one.key, one.value)) for one in opened],
                {(one.bucket, one.key): one.revision for one in entries},
            )
        except ConflictError:  # changed meanwhile, and sealed by that
            _log.debug("secrets were changed while they were sealed")

    async def _secret_entries(self) -> list[Entry]:
        found: list[Entry] = []
        for bucket, prefix in self._places.items():
            found += [entry for entry in (await self._store.list(bucket))[1] if entry.key.startswith(prefix)]
        return found

    # values

    def _is_secret(self, bucket: str, key: str) -> bool:
        prefix = self._places.get(bucket)
        return prefix is not None and key.startswith(prefix)

    def _opened(self, entry: Entry) -> Entry:
        """`entry` with its value in clear; the same object where it is that already, or does not open."""
        if not self._is_secret(entry.bucket, entry.key) or not is_sealed(entry.value):
            return entry
        key = self._keys.get(key_id(entry.value))
        if key is None:
            return entry
        try:
            return replace(entry, value=key.open(entry.bucket, entry.key, entry.value))
        except NotOpenedError:
            return entry

    def _sealed(self, change: Change) -> Change:
        if isinstance(change, Delete) or not self._is_secret(change.bucket, change.key):
            return change
        if self._active is None or self._error:
            raise StoreError(f"a secret cannot be sealed, so nothing was written: {self._error or 'there is no key'}")
        return Put(change.bucket, change.key, self._active.seal(change.bucket, change.key, change.value))

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""
        entry = await self._store.get(bucket, key)
        return None if entry is None else (await self._all_opened(bucket, (entry,)))[0]

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        revision, entries = await self._store.read(bucket, keys)
        return revision, await self._all_opened(bucket, entries)

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        revision, entries = await self._store.list(bucket)
        return revision, await self._all_opened(bucket, entries)

    async def _all_opened(self, bucket: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """`entries` with their values in clear, as far as they open. Another control plane may have made a new key."""
        if bucket not in self._places:
            return entries
        used = {key_id(one.value) for one in entries if is_sealed(one.value) and self._is_secret(bucket, one.key)}
        unknown = used - self._keys.keys() - self._foreign
        if unknown and not self._error:
            try:
                await self._read_keys()
            except KeyWrapError as error:
                _log.warning("the store's keys cannot be read again: %s", error)
            self._foreign |= unknown - self._keys.keys()
        return tuple(map(self._opened, entries))

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """See the protocol. What is sealed is written only while its data key is in the store: another control plane
        may have replaced it."""
        for attempt in range(_ATTEMPTS):
            sealed = [self._sealed(change) for change in changes]
            if all(one is other for one, other in zip(sealed, changes, strict=True)):
                break
            place, revision = self._active_place()
            try:
                return await self._store.write(sealed, {**(expect or {}), place: revision}, leases)
            except ConflictError:
                held = await self._store.get(*place)
                if attempt == _ATTEMPTS - 1 or (held is not None and held.revision == revision):
                    raise
                await self._read_again()
        return await self._store.write(changes, expect, leases)

    def _active_place(self) -> tuple[tuple[str, str], int]:
        return (KEYRING, self._active.id.hex() if self._active else ""), self._active_revision

    async def _read_again(self) -> None:
        try:
            await self._read_keys()
        except KeyWrapError as error:
            raise StoreError(f"a secret cannot be sealed, so nothing was written: {error}") from error

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        """See the protocol."""
        return await self._store.changes(after, timeout)

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """See the protocol."""
        return await self._store.extend(leases)

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """See the protocol."""
        return await self._store.expire(now)

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """See the protocol."""
        return await self._store.leases(keys)

    async def forget(self) -> None:
        """See the protocol."""
        await self._store.forget()

    async def close(self) -> None:
        """See the protocol."""
        await self._store.close()


def _wrapped(entry: Entry) -> _Wrapped | None:
    """A data key of the keyring; None where the entry is damaged."""
    try:
        found = msgspec.json.decode(entry.value, type=_Wrapped)
        bytes.fromhex(entry.key)
    except (msgspec.DecodeError, ValueError):
        _log.error("the data key %s of the store is damaged: what it has sealed cannot be read", entry.key)
        return None
    return found
