"""Join tokens: how an agent on another host proves itself the first time. They work once, or, for the instances of a
WorkloadGroup, a number of times. Stored hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from weft.ca.attestation import Demands, check_demands
from weft.model.identity import is_dns_label
from weft.store.protocol import Delete, Entry, Put, Store

BUCKET = "tokens"
DEFAULT_TOKEN_TTL = 3600.0
MAX_TOKEN_TTL = 30 * 24 * 3600.0
MOST_USES = 10_000
_PREFIX = "weft-"
_KEPT = 7 * 24 * 3600.0
"""How long a used or expired token is remembered, so that its reuse can be told from a guess."""

_ID_LENGTH = 12

Clock = Callable[[], float]


class TokenRefusedError(Exception):
    """A join token was not accepted. The message is the same for all reasons and fit for a stranger; `code`
    (``token-unknown``, ``token-expired``, ``token-reused``, ``token-revoked``, ``token-outlived``) and
    `detail` are for the record."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(
            "the join token is not valid: it works once, until it expires or is revoked (see weft token list); make "
            "a new one: weft token create"
        )
        self.code = code
        self.detail = detail


class TokenParametersError(ValueError):
    """A token was asked for with names or a life that cannot be."""


class UnknownTokenError(ValueError):
    """There is no token of that id that could be revoked."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A new token, shown once. `id` names it without being of any use. `expires` in epoch seconds."""

    text: str = field(repr=False)
    id: str
    namespace: str
    service_account: str
    expires: float


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What the bearer of a token may be. `use` uses it up: to be written in one step with what it was used for, as long
    as the token is still at `revision`; of several at once exactly one succeeds. `group`: only for instances of this
    WorkloadGroup. `shared`: there are more uses, so who comes second may try again."""

    namespace: str
    service_account: str
    use: Put = field(repr=False)
    revision: int
    demands: Demands | None = None
    group: str = ""
    shared: bool = False

    @property
    def expect(self) -> dict[tuple[str, str], int]:
        """What must hold when `use` is written."""
        return {(self.use.bucket, self.use.key): self.revision}


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is kept of a token. `state` is valid, used, expired or revoked; times in epoch seconds, 0 for never."""

    id: str
    namespace: str
    service_account: str
    state: str
    created: float
    expires: float
    used: float
    revoked: float
    demands: tuple[str, ...] = ()
    group: str = ""
    uses: int = 1
    joined: int = 0


class _Record(msgspec.Struct, frozen=True):
    namespace: str
    service_account: str
    created: float
    expires: float
    used: float = 0.0
    revoked: float = 0.0
    demands: Demands | None = None
    group: str = ""
    uses: int = 1
    joined: int = 0

    @property
    def left(self) -> int:
        """How often it may still be used."""
        return 0 if self.used and self.uses == 1 else self.uses - self.joined

    def state(self, now: float) -> str:
        """In one word."""
        if not self.left:
            return "used"
        if self.revoked:
            return "revoked"
        return "expired" if now >= self.expires else "valid"


async def create_token(
    store: Store,
    namespace: str,
    service_account: str,
    ttl: float = DEFAULT_TOKEN_TTL,
    clock: Clock = time.time,
    demands: Demands | None = None,
    *,
    group: str = "",
    uses: int = 1,
) -> JoinToken:
    """Make a token that lets a workload join as `service_account` of `namespace` within `ttl` seconds, if it proves
    what `demands` has; with `group` only instances of this WorkloadGroup, as many as `uses`."""
    names = (("namespace", namespace), ("service account", service_account), ("WorkloadGroup", group or "any"))
    for what, text in names:
        if not is_dns_label(text):
            raise TokenParametersError(f"{what} '{text}': expected lower-case letters, digits and '-'")
    if not 0 < ttl <= MAX_TOKEN_TTL:
        raise TokenParametersError(f"a token may live up to {MAX_TOKEN_TTL / 86400:.0f} days, not {ttl:g} s")
    if not 1 <= uses <= MOST_USES or (uses > 1 and not group):
        text = (
            f"a token may be used once, or, for the instances of a WorkloadGroup, up to {MOST_USES} times, not {uses}"
        )
        raise TokenParametersError(text)
    if demands is not None:
        try:
            check_demands(demands)
        except ValueError as error:
            raise TokenParametersError(str(error)) from error
    now = clock()
    text = _PREFIX + secrets.token_urlsafe(32)
    record = _Record(namespace, service_account, now, now + ttl, demands=demands, group=group, uses=uses)
    await _forget_old(store, now)
    await store.write([Put(BUCKET, _key(text), msgspec.json.encode(record))], expect={(BUCKET, _key(text)): 0})
    return JoinToken(text, _id(_key(text)), namespace, service_account, record.expires)


async def list_tokens(store: Store, clock: Clock = time.time) -> tuple[TokenRecord, ...]:
    """Every token that is remembered, the oldest first."""
    _, entries = await store.list(BUCKET)
    return tuple(sorted((_told(entry, clock()) for entry in entries), key=lambda one: (one.created, one.id)))


async def revoke_token(store: Store, wanted: str, clock: Clock = time.time) -> TokenRecord:
    """Make the token with the id `wanted` (or the token itself) invalid. Raises UnknownTokenError."""
    _, entries = await store.list(BUCKET)
    key = _key(wanted)
    entry = next((one for one in entries if one.key == key or _id(one.key) == wanted), None)
    if entry is None:
        raise UnknownTokenError(f"there is no join token '{wanted[:80]}'; weft token list shows their ids")
    now = clock()
    record = msgspec.json.decode(entry.value, type=_Record)
    if record.state(now) != "valid":
        raise UnknownTokenError(f"join token {_id(entry.key)} is not valid any more: {record.state(now)}")
    revoked = msgspec.json.encode(msgspec.structs.replace(record, revoked=now))
    await store.write([Put(BUCKET, entry.key, revoked)], {(BUCKET, entry.key): entry.revision})
    return _told(dataclasses.replace(entry, value=revoked), now)


async def read_token(store: Store, text: str, clock: Clock = time.time, since: float = 0.0) -> TokenGrant:
    """What the token `text` grants now, and how it is used up. Raises TokenRefusedError, also for one made before
    `since` (epoch seconds)."""
    now = clock()
    entry = await store.get(BUCKET, _key(text))
    if entry is None:
        raise TokenRefusedError("token-unknown", "a join token that was never made, or long ago")
    record = msgspec.json.decode(entry.value, type=_Record)
    whose = f"for {record.namespace}/{record.service_account}"
    if not record.left:
        often = "before" if record.uses == 1 else f"{record.uses} times"
        raise TokenRefusedError("token-reused", f"the join token {whose} has been used {often}")
    if record.revoked:
        raise TokenRefusedError("token-revoked", f"the join token {whose} has been revoked")
    if now >= record.expires:
        raise TokenRefusedError("token-expired", f"the join token {whose} has expired")
    if since and record.created <= since:
        raise TokenRefusedError("token-outlived", f"the join token {whose} was made before trust in the workload ended")
    used = msgspec.structs.replace(record, used=now, joined=record.joined + 1)
    use, shared = Put(BUCKET, entry.key, msgspec.json.encode(used)), record.left > 1
    grant = (record.namespace, record.service_account, use, entry.revision, record.demands)
    return TokenGrant(*grant, record.group, shared)


async def _forget_old(store: Store, now: float) -> None:
    _, entries = await store.list(BUCKET)
    old = [e.key for e in entries if msgspec.json.decode(e.value, type=_Record).expires + _KEPT < now]
    if old:
        await store.write([Delete(BUCKET, key) for key in old])


def _told(entry: Entry, now: float) -> TokenRecord:
    record = msgspec.json.decode(entry.value, type=_Record)
    return TokenRecord(
        _id(entry.key),
        record.namespace,
        record.service_account,
        record.state(now),
        record.created,
        record.expires,
        record.used,
        record.revoked,
        record.demands.words() if record.demands else (),
        record.group,
        record.uses,
        record.joined or int(bool(record.used)),
    )


def _id(key: str) -> str:
    return key[:_ID_LENGTH]


def _key(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
