"""The audit's chain: links that each carry the hash of the one before and of every entry since, so that it shows when
entries are changed, removed or slipped in.

A link is made some seconds after entries were. Its hash is keyed with a key that lies sealed in the store: who can
write the database, and has not the store's key, cannot make one. What a chain cannot show is that its newest links are
gone together with their entries: keep its head elsewhere (`weft audit verify`, `weft audit export`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from weft.admin.audit import BUCKETS, KEEP_EVENTS, Audit
from weft.store.protocol import Change, ConflictError, Delete, Entry, Put, Store, StoreError
from weft.store.sealing.envelope import is_sealed

BUCKET = "audit-chain"
_META, _KEY = "audit-meta", "chain-key"
SEAL_SECONDS = 10.0
LATE_SECONDS = 60.0
"""An entry may reach the store this long after its time; one that is older than the last link by more is not ours."""
_OF_ONE_LINK = 2000
_DIGITS = 32
_FINDINGS = 50
MOST_LINKS = 2000
"""Of more, the older half is replaced by a link that covers what is kept of their entries."""
_log = logging.getLogger("weft.audit")
Place = tuple[str, str]


class Link(msgspec.Struct, frozen=True):
    """`entries` are bucket, key and hash of what it covers; `hash` is keyed and covers all else."""

    number: int
    time: float
    previous: str
    entries: tuple[tuple[str, str, str], ...]
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking at the chain comes to. `first` and `head` are numbers of links, `hash` is that of the head;
    `covered` entries are in it as they were, `forgotten` were covered and are no longer kept, `fresh` are not in it
    yet."""

    first: int = 0
    head: int = 0
    hash: str = ""
    time: float = 0.0
    covered: int = 0
    forgotten: int = 0
    fresh: int = 0
    findings: tuple[str, ...] = field(default=())


class AuditChain:
    """Makes links of what the audit records. One task uses it; `verify` may be called by anybody."""

    def __init__(self, store: Store, audit: Audit, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._last: Link | None = None
        self._covered: set[Place] | None = None
        self._key = b""

    async def run(self) -> None:
        """Make links for ever: at the start, and whenever something was recorded."""
        seen = -1
        while True:
            made = self._audit.made
            if made != seen:
                try:
                    await self.seal()
                    seen = made
                except StoreError as error:
                    _log.debug("the audit's chain waits: %s", error)
            await asyncio.sleep(SEAL_SECONDS)

    async def seal(self) -> None:
        """Cover what is not covered yet. StoreError if it cannot be now."""
        key = await self._hash_key()
        if self._covered is None:
            links = await self._links()
            self._last = links[-1] if links else None
            self._covered = {(bucket, name) for link in links for bucket, name, _ in link.entries}
        entries = await self._entries()
        fresh = [one for one in entries if (one.bucket, one.key) not in self._covered and not self._is_late(one)]
        for start in range(0, len(fresh), _OF_ONE_LINK):
            await self._add(key, fresh[start : start + _OF_ONE_LINK])
        if fresh:
            await self._trim(entries)

    async def verify(self) -> Verdict:
        """Whether everything is as it was recorded. StoreError if the store, or the key, cannot be read."""
        key = await self._hash_key()
        links, entries = await self._links(), await self._entries()
        return await asyncio.to_thread(judged, key, links, entries)

    async def _add(self, key: bytes, entries: Sequence[Entry]) -> None:
        before = self._last
        rows = tuple((one.bucket, one.key, digest(one.value)) for one in entries)
        link = Link(before.number + 1 if before else 1, self._clock(), before.hash if before else "", rows)
        link = msgspec.structs.replace(link, hash=link_hash(key, link))
        name = _name(link.number)
        try:
            await self._store.write([Put(BUCKET, name, msgspec.json.encode(link))], {(BUCKET, name): 0})
        except ConflictError:  # another control plane was faster: look at its links first
            self._covered = None
            raise
        self._last = link
        if self._covered is not None:
            self._covered |= {(one.bucket, one.key) for one in entries}

    def _is_late(self, entry: Entry) -> bool:
        return self._last is not None and _moment(entry.key) < self._last.time - LATE_SECONDS

    async def _trim(self, entries: Sequence[Entry]) -> None:
        """Forget links of which no entry is kept any more, and the older half of too many."""
        held = {(one.bucket, one.key): one for one in entries}
        links = await self._links()
        kept = next((i for i, one in enumerate(links) if any(row[:2] in held for row in one.entries)), 0)
        if len(links) - kept > MOST_LINKS:
            if judged(await self._hash_key(), links, entries).findings:
                return  # what shows that something was changed is not thrown away
            kept += MOST_LINKS // 2
            rows = [held[row[:2]] for link in links[:kept] for row in link.entries if row[:2] in held]
            for start in range(0, len(rows), _OF_ONE_LINK):
                await self._add(await self._hash_key(), rows[start : start + _OF_ONE_LINK])
        gone: list[Change] = [Delete(BUCKET, _name(link.number)) for link in links[:kept]]
        if gone:
            await self._store.write(gone)
            self._covered = None

    async def _links(self) -> list[Link]:
        found = []
        for entry in (await self._store.list(BUCKET))[1]:
            try:
                found.append(msgspec.json.decode(entry.value, type=Link))
            except (msgspec.DecodeError, UnicodeDecodeError):
                found.append(Link(int(entry.key) if entry.key.isdecimal() else 0, 0.0, "", ()))
        return found

    async def _entries(self) -> list[Entry]:
        return [entry for bucket in BUCKETS for entry in (await self._store.list(bucket))[1]]

    async def _hash_key(self) -> bytes:
        if not self._key:
            entry = await self._store.get(_META, _KEY)
            if entry is None:  # at first, or after the store's key was lost, and what it made with it
                fresh = secrets.token_bytes(32)
                old: list[Change] = [Delete(BUCKET, one.key) for one in (await self._store.list(BUCKET))[1]]
                await self._store.write([*old, Put(_META, _KEY, fresh)], {(_META, _KEY): 0})
                self._key = fresh
            elif is_sealed(entry.value):
                raise StoreError("the key of the audit's chain is sealed with a key that is not here")
            else:
                self._key = entry.value
        return self._key


def judged(key: bytes, links: Sequence[Link], entries: Sequence[Entry]) -> Verdict:
    """What links and entries come to, together."""
    held = {(one.bucket, one.key): one for one in entries}
    oldest = {bucket: _oldest(entries, bucket) for bucket in BUCKETS}
    findings = _chain_findings(key, links)
    if links and links[0].number > 1 and not any(oldest.values()) and len(links) < MOST_LINKS // 2:
        findings.append(f"links before {links[0].number} were removed")
    covered: set[Place] = set()
    forgotten = 0
    for link in links:
        for bucket, name, wanted in link.entries:
            entry = held.get((bucket, name))
            covered.add((bucket, name))
            if entry is None and name < oldest.get(bucket, ""):
                forgotten += 1
            elif entry is None:
                findings.append(f"an entry of {bucket} was removed: {name} (link {link.number})")
            elif digest(entry.value) != wanted:
                findings.append(f"an entry of {bucket} was changed: {name} (link {link.number})")
    head = links[-1] if links else Link(0, 0.0, "", ())
    fresh = 0
    for place, entry in held.items():
        if place in covered:
            continue
        if links and _moment(entry.key) < head.time - LATE_SECONDS:
            findings.append(f"an entry of {entry.bucket} is in no link: {entry.key}")
        else:
            fresh += 1
    shown = findings[:_FINDINGS] + ([f"and {len(findings) - _FINDINGS} more"] if len(findings) > _FINDINGS else [])
    first, good = links[0].number if links else 0, len(covered & held.keys())
    return Verdict(first, head.number, head.hash, head.time, good, forgotten, fresh, tuple(shown))


def _oldest(entries: Sequence[Entry], bucket: str) -> str:
    """The key before which entries of a full bucket are forgotten; of one that is not full, none is."""
    keys = sorted(one.key for one in entries if one.bucket == bucket)
    return keys[0] if len(keys) >= KEEP_EVENTS else ""


def _chain_findings(key: bytes, links: Sequence[Link]) -> list[str]:
    findings = []
    for index, link in enumerate(links):
        if not hmac.compare_digest(link.hash, link_hash(key, link)):
            findings.append(f"link {link.number} was changed, or made by somebody without the key")
        if index and link.number != links[index - 1].number + 1:
            findings.append(f"links between {links[index - 1].number} and {link.number} were removed")
        elif index and link.previous != links[index - 1].hash:
            findings.append(f"link {link.number} does not follow link {links[index - 1].number}")
    if links and links[0].number == 1 and links[0].previous:
        findings.append("link 1 follows one that there never was")
    return findings


def link_hash(key: bytes, link: Link) -> str:
    """The keyed hash of a link, over everything but itself."""
    body = msgspec.json.encode(msgspec.structs.replace(link, hash=""))
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def digest(value: bytes) -> str:
    """The hash of an entry, as links have it."""
    return hashlib.sha256(value).hexdigest()[:_DIGITS]


def _moment(key: str) -> float:
    """The time in an entry's key, seconds since the epoch."""
    text = key.partition("-")[0]
    return int(text) / 1e6 if text.isdecimal() else 0.0


def _name(number: int) -> str:
    return f"{number:012d}"
