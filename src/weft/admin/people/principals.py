"""Principals in the store: made, listed, revoked, and found by the token or certificate they show.

Tokens are 256 random bits, so a plain SHA-256 is all that has to be kept: there is nothing to guess that a slow hash
would make slower. They are looked up by that hash, and what the time of a look-up tells about a hash is of no use.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from aiohttp import web

from weft.admin.people.access import Grant, Principal, Role
from weft.model.identity import is_dns_label
from weft.model.instants import instant
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.following import BucketChange, follow_bucket
from weft.store.protocol import Change, ConflictError, Delete, Entry, Put, Store, StoreError

BUCKET = "principals"
_USED = "principals-used"
PREFIX = "weft_"
"""How every token begins, so that scanners for leaked secrets find it: ``weft_[A-Za-z0-9_-]{43}``."""
LONGEST_LIFE = 366 * 86400.0
DEFAULT_LIFE = 30 * 86400.0
MOST = 1000
_KEPT = 7 * 86400.0
"""How long a token that was revoked or has expired is remembered, so that its use can be told from a guess."""
_WARNED = 7 * 86400.0
_NOTE_USE_SECONDS = 300.0
_RESERVED = frozenset({"dashboard", "local", "oidc"})
KindT = TypeVar("KindT")
_JOIN_ID = re.compile(r"[0-9a-f]{12}")


class PrincipalError(ValueError):
    """A principal was asked for that cannot be; the message says why."""


class UnknownPrincipalError(ValueError):
    """There is no principal of that name that could be revoked."""


class TokenError(Exception):
    """A token that once was good: `code` is ``token-expired`` or ``token-revoked``. Its bearer may know."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Record(msgspec.Struct, frozen=True):
    """What is kept of a principal. `token` is the SHA-256 of its token; `certificate` is what its certificate has to
    carry (``spiffe://…``, or ``subject:`` with a name of RFC 4514); one of the two is empty. Times in epoch seconds, 0
    for never."""

    name: str
    role: Role
    namespaces: tuple[str, ...]
    created: float
    creator: str
    expires: float = 0.0
    revoked: float = 0.0
    token: str = ""
    certificate: str = ""

    def state(self, now: float) -> str:
        """valid, expired or revoked."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and now >= self.expires else "valid"

    @property
    def warn(self) -> float:
        """From when on it is said that it ends soon: for a fifth of its life, and for a week at most. 0: never."""
        return self.expires - min(_WARNED, (self.expires - self.created) / 5) if self.expires else 0.0

    def ends_soon(self, now: float) -> bool:
        """Whether it is valid, and will not be for long."""
        return bool(self.warn) and now >= self.warn and self.state(now) == "valid"

    @property
    def id(self) -> str:
        """Tells this principal from others of its name."""
        return hashlib.sha256(f"{self.name} {self.created} {self.token}".encode()).hexdigest()[:12]

    @property
    def principal(self) -> Principal:
        """As it calls."""
        proof = "token" if self.token else "certificate"
        return Principal(self.name, (Grant(self.role, self.namespaces),), proof, self.id, self.expires, self.warn)


class _Use(msgspec.Struct, frozen=True):
    id: str
    time: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A principal that is to be made. `life` in seconds (0: as long as its certificate is good); with `certificate`
    there is no token."""

    name: str
    role: Role
    namespaces: tuple[str, ...] = ()
    life: float = DEFAULT_LIFE
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """A new principal; the token is shown once (empty: it has a certificate)."""

    record: Record
    token: str = field(default="", repr=False)


class People:
    """The principals, as the store has them: followed while `running`, so that one that another control plane revokes
    is refused here too. While the store is away those who are known stay known."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._by_token: dict[str, str] = {}
        self._by_certificate: dict[str, str] = {}
        self._used: dict[str, _Use] = {}
        self._noted: dict[str, float] = {}

    async def running(self, _application: web.Application) -> AsyncIterator[None]:
        """For an application's ``cleanup_ctx``: follows the store as long as the server runs."""
        with contextlib.suppress(StoreError):  # then it is read when it is back
            await self._load()
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._note_uses())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self._write_uses()

    def of_token(self, text: str) -> Principal | None:
        """Whose token it is; None: nobody's. TokenError for one that was good once."""
        record = self._records.get(self._by_token.get(token_hash(text), ""))
        if record is None:
            return None
        now = self._clock()
        if (state := record.state(now)) != "valid":
            raise TokenError(f"token-{state}", f"the token of {record.name} {_SAID[state]}; ask for a new one")
        self._used[record.name] = _Use(record.id, now)
        return record.principal

    def of_certificate(self, names: Sequence[str]) -> Principal | None:
        """Whose certificate it is that carries `names`; None: of no principal that is valid."""
        for name in names:
            record = self._records.get(self._by_certificate.get(name, ""))
            if record is not None and record.state(self._clock()) == "valid":
                self._used[record.name] = _Use(record.id, self._clock())
                return record.principal
        return None

    def knows(self, principal: Principal) -> bool:
        """Whether a principal that proved itself before still is one."""
        if principal.proof not in ("token", "certificate"):
            return not principal.until or self._clock() < principal.until
        record = self._records.get(principal.name)
        return record is not None and record.id == principal.id and record.state(self._clock()) == "valid"

    def ending(self, principal: Principal) -> float:
        """When a principal ends that ends soon (epoch seconds), else 0."""
        return principal.until if principal.warn and self._clock() >= principal.warn else 0.0

    def problems(self) -> tuple[Problem, ...]:
        """Those that end soon, and were used: somebody will miss them."""
        now = self._clock()
        ending = [one for one, _, used in self.all() if used and one.ends_soon(now)]
        return tuple(
            Problem(
                Severity.WARNING,
                "token-ends",
                f"the {'token' if one.token else 'principal'} {one.name} ({one.principal.roles}) ends at "
                f"{instant(one.expires)}, and was used",
                Origin("weft"),
                expected="a new one in its place: weft token create, then weft token revoke",
            )
            for one in ending
        )

    async def create(self, wanted: Wanted, creator: str, also: Callable[[Record], Sequence[Change]]) -> Created:
        """Make a principal; `also` is written in the same step. PrincipalError if it cannot be."""
        await self._load()
        now = self._clock()
        _check(wanted)
        held = self._records.get(wanted.name)
        if held is not None and held.state(now) == "valid":
            raise PrincipalError(f"there is a principal '{wanted.name}' already; revoke it, or choose another name")
        if wanted.certificate in self._by_certificate:
            whose = self._by_certificate[wanted.certificate]
            if self._records[whose].state(now) == "valid":
                raise PrincipalError(f"this certificate is that of '{whose}' already")
        old = [one.name for one in self._records.values() if _over(one) and _over(one) + _KEPT < now]
        if len(self._records) - len(old) >= MOST:
            raise PrincipalError(f"there are {MOST} principals, and no more are kept: revoke some")
        text = "" if wanted.certificate else PREFIX + secrets.token_urlsafe(32)
        record = Record(
            wanted.name,
            wanted.role,
            wanted.namespaces,
            now,
            creator,
            now + wanted.life if wanted.life else 0.0,
            token=token_hash(text) if text else "",
            certificate=wanted.certificate,
        )
        put = Put(BUCKET, record.name, msgspec.json.encode(record))
        gone: list[Change] = [Delete(BUCKET, name) for name in old if name != record.name]
        entry = await self._store.get(BUCKET, record.name)
        expect = {(BUCKET, record.name): entry.revision if entry else 0}
        await self._store.write([*gone, put, *also(record)], expect)
        await self._load()
        return Created(record, text)

    async def revoke(self, name: str, also: Callable[[Record], Sequence[Change]]) -> Record:
        """Make a principal, by its name, its token or ``sha256:`` with the token's hash, invalid at once.
        UnknownPrincipalError."""
        await self._load()
        digest = name.removeprefix("sha256:") if name.startswith("sha256:") else token_hash(name)
        name = self._by_token.get(digest, "the one of this token" if name.startswith(PREFIX) else name)
        record, now = self._records.get(name), self._clock()
        if record is None:
            raise UnknownPrincipalError(f"there is no principal '{name[:80]}'; weft token list shows them")
        if record.revoked:
            raise UnknownPrincipalError(f"{record.name} is revoked already")
        entry = await self._store.get(BUCKET, name)
        if entry is None:
            raise ConflictError(f"{name} was changed by others at the same time: try again")
        revoked = msgspec.structs.replace(record, revoked=now)
        put = Put(BUCKET, name, msgspec.json.encode(revoked))
        await self._store.write([put, *also(record)], {(BUCKET, name): entry.revision})
        await self._load()
        return revoked

    def all(self) -> tuple[tuple[Record, str, float], ...]:
        """Every principal that is remembered, with its state and when it last called (0: never, as far as known)."""
        now = self._clock()
        return tuple(
            (one, one.state(now), use.time if (use := self._used.get(one.name)) and use.id == one.id else 0.0)
            for one in sorted(self._records.values(), key=lambda each: (each.created, each.name))
        )

    async def _load(self) -> None:
        revision, entries = await self._store.list(BUCKET)
        self._take(BucketChange(revision, entries, whole=True))
        if not self._noted:
            for entry in (await self._store.list(_USED))[1]:
                if (use := _read(entry, _Use)) is not None:
                    self._noted[entry.key] = use.time
                    self._used.setdefault(entry.key, use)

    async def _follow(self) -> None:
        async for change in follow_bucket(self._store, BUCKET):
            self._take(change)

    def _take(self, change: BucketChange) -> None:
        if change.error:
            return
        if change.whole:
            self._records = {}
        for name in change.gone:
            self._records.pop(name, None)
        for entry in change.entries:
            if (record := _read(entry, Record)) is not None:
                self._records[entry.key] = record
        if change.whole or change.gone or change.entries:
            self._by_token = {one.token: one.name for one in self._records.values() if one.token}
            self._by_certificate = {one.certificate: one.name for one in self._records.values() if one.certificate}

    async def _note_uses(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_USE_SECONDS)
            with contextlib.suppress(StoreError):  # it is told again after the next call
                await self._write_uses()

    async def _write_uses(self) -> None:
        """Keep when principals last called: seldom, for it is a write."""
        new = {name: use for name, use in self._used.items() if self._noted.get(name) != use.time}
        if new:
            await self._store.write([Put(_USED, name, msgspec.json.encode(use)) for name, use in new.items()])
            self._noted.update({name: use.time for name, use in new.items()})


_SAID = {"expired": "has expired", "revoked": "was revoked"}


def token_hash(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _over(record: Record) -> float:
    """When a principal ended or ends; 0: never."""
    return record.revoked or record.expires


def _check(wanted: Wanted) -> None:
    if not is_dns_label(wanted.name) or wanted.name in _RESERVED or _JOIN_ID.fullmatch(wanted.name):
        raise PrincipalError(
            f"name '{wanted.name[:80]}': expected lower-case letters, digits and '-', not twelve hexadecimal digits "
            f"and none of {', '.join(sorted(_RESERVED))}"
        )
    if (wanted.role is Role.EDITOR) != bool(wanted.namespaces):
        raise PrincipalError("an editor has namespaces, and nobody else has: give --namespace with --role editor")
    for namespace in wanted.namespaces:
        if not is_dns_label(namespace):
            raise PrincipalError(f"namespace '{namespace[:80]}': expected lower-case letters, digits and '-'")
    if wanted.certificate:
        if not wanted.certificate.startswith(("spiffe://", "subject:")):
            raise PrincipalError(
                f"certificate '{wanted.certificate[:80]}': expected spiffe://TRUST-DOMAIN/… or subject:NAME, as "
                "openssl x509 -subject -nameopt RFC2253 prints it"
            )
        if not 0 <= wanted.life <= LONGEST_LIFE:
            raise PrincipalError(f"expected a life of at most {LONGEST_LIFE / 86400:.0f} days")
    elif not 0 < wanted.life <= LONGEST_LIFE:
        raise PrincipalError(f"a token lives for at most {LONGEST_LIFE / 86400:.0f} days, not {wanted.life:g} s")


def _read(entry: Entry, kind: type[KindT]) -> KindT | None:
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of another version of weft: it lets nobody in
        return None
