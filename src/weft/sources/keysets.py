"""The keys of issuers: fetched from where RequestAuthentications say, kept in the store, never replaced by a default.

What was fetched last stays in force while the server is away, also over a restart, for `KEPT_SECONDS` at most. Until
the first keys are there nobody waits: the issuer's tokens are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from weft.aio.cell import Cell
from weft.aio.fetch import Fetched, FetchError, Network, fetch
from weft.mesh.access.wanted import WantedKeys, wanted_keys
from weft.mesh.policies.meshconfig import build_settings, settings_documents
from weft.mesh.problems import problem_at
from weft.model.instants import instant
from weft.model.jwks import KeySet, KeySetError, read_key_set
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.store.protocol import Delete, Put, Store, StoreError

BUCKET = "keys"
KEPT_SECONDS = 7 * 86400.0
"""How long keys are in force that cannot be fetched again: who breaks the connection to an issuer must not be able to
keep a key in force for ever that the issuer has taken back."""
MOST_SERVERS = 200
_USUAL_SECONDS = 20 * 60.0
_SHORTEST_SECONDS = 60.0
_LONGEST_SECONDS = 3600.0
"""How long keys are good, if the server says nothing, and in which bounds it may say something."""
_RETRY_SECONDS = (1.0, 60.0)
_AT_ONCE = 8
Fetching = Callable[[str, Sequence[Network]], Awaitable[Fetched]]


class _Kept(msgspec.Struct, frozen=True):
    """An entry of the bucket: `fetched` in seconds since the epoch."""

    uri: str
    text: str
    fetched: float


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of one address. `due` is when it is asked next; `failing` since when it could not be fetched, and
    `reason` why (empty: it could)."""

    text: str = ""
    fetched: float = 0.0
    due: float = 0.0
    failing: float = 0.0
    failures: int = 0
    reason: str = ""
    left_out: tuple[str, ...] = ()


_UNKNOWN = _State()
_log = logging.getLogger("weft.keys")


class KeySource:
    """A source whose contents are key sets. `collected` are the snapshots whose documents say what is wanted."""

    def __init__(
        self,
        store: Store,
        collected: Callable[[], Cell[Collected]],
        *,
        fetching: Fetching = fetch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._collected = collected
        self._fetching = fetching
        self._clock = clock
        self._contents: Cell[Contents | None] = Cell(None)
        self._states: dict[str, _State] = {}
        self._wanted: tuple[WantedKeys, ...] = ()
        self._networks: tuple[Network, ...] = ()
        self._asking: dict[str, asyncio.Task[None]] = {}

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Read what is kept, then follow the documents and fetch, for ever."""
        await self._load()
        self._publish()
        version = -1
        async with asyncio.TaskGroup() as group:
            while True:
                cell = self._collected()
                if cell.version != version:
                    version = cell.version
                    self._want(cell.value.snapshot)
                    await self._drop_unwanted()
                self._ask(group)
                await self._next(cell, version)

    async def _load(self) -> None:
        try:
            _, entries = await self._store.list(BUCKET)
        except StoreError:
            return  # they are fetched again
        for entry in entries:
            try:
                kept = msgspec.json.decode(entry.value, type=_Kept)
                text = read_key_set(kept.text).text
            except (msgspec.DecodeError, KeySetError):
                continue
            self._states[kept.uri] = _State(text=text, fetched=min(kept.fetched, self._clock()))

    def _want(self, snapshot: ConfigSnapshot) -> None:
        wanted = wanted_keys(snapshot.documents)
        networks = allowed_networks(snapshot)
        changed = [(one.uri, one.places) for one in wanted] != [(one.uri, one.places) for one in self._wanted]
        if networks != self._networks:  # what was refused may be asked now
            self._states = {uri: replace(state, due=0.0, failures=0) for uri, state in self._states.items()}
        self._wanted, self._networks = wanted, networks
        if changed:
            self._publish()

    async def _drop_unwanted(self) -> None:
        """Keys that nobody wants are forgotten: whoever wants them again gets what is there then."""
        wanted = {one.uri for one in self._wanted}
        gone = [uri for uri in self._states if uri not in wanted]
        if not gone or not self._collected().version:
            return
        for uri in gone:
            del self._states[uri]
        self._publish()
        try:
            await self._store.write([Delete(BUCKET, _key(uri)) for uri in gone])
        except StoreError:
            return  # they are left out when they are read again

    def _ask(self, group: asyncio.TaskGroup) -> None:
        now = self._clock()
        for one in self._wanted[:MOST_SERVERS]:
            due = self._states.get(one.uri, _UNKNOWN).due <= now
            if due and one.uri not in self._asking and len(self._asking) < _AT_ONCE:
                self._asking[one.uri] = group.create_task(self._fetch(one))

    async def _next(self, cell: Cell[Collected], version: int) -> None:
        """Until documents change, something was fetched, or something is due."""
        now = self._clock()
        dues = [self._states.get(one.uri, _UNKNOWN).due for one in self._wanted[:MOST_SERVERS]]
        dues += [state.fetched + KEPT_SECONDS for state in self._states.values() if state.text and state.reason]
        left = min((due - now for due in dues if due > now), default=_LONGEST_SECONDS)
        waits = [asyncio.ensure_future(cell.changed(version)), *self._asking.values()]
        try:
            await asyncio.wait(waits, timeout=max(left, 0.001), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits[0].cancel()
        before = len(self._asking)
        self._asking = {uri: task for uri, task in self._asking.items() if not task.done()}
        if len(self._asking) < before or self._expire():
            self._publish()

    async def _fetch(self, wanted: WantedKeys) -> None:
        now = self._clock()
        try:
            found = await self._read(wanted)
            read = read_key_set(_text(found.body))
        except (FetchError, KeySetError) as error:
            self._failed(wanted, now, str(error))
            return
        except Exception as error:  # whatever a server makes us trip over: other issuers' keys are fetched all the same
            _log.exception("the keys at %s cannot be read", wanted.uri)
            self._failed(wanted, now, f"weft cannot read what is there ({type(error).__name__}, see the log)")
            return
        usual = _USUAL_SECONDS if found.max_age is None else found.max_age
        due = now + min(max(usual, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        self._states[wanted.uri] = _State(text=read.text, fetched=now, due=due, left_out=read.left_out)
        kept = msgspec.json.encode(_Kept(wanted.uri, read.text, now))
        try:
            await self._store.write([Put(BUCKET, _key(wanted.uri), kept)])
        except StoreError:
            return  # they are in force; after a restart they are fetched again

    def _failed(self, wanted: WantedKeys, began: float, reason: str) -> None:
        """Ask again, the later the longer it has failed."""
        before = self._states.get(wanted.uri, _UNKNOWN)
        first, longest = _RETRY_SECONDS
        due = self._clock() + min(first * 2 ** min(before.failures, 10), longest)
        since, failures = before.failing or began, before.failures + 1
        self._states[wanted.uri] = replace(
            before, due=due, failures=failures, failing=since, reason=reason, left_out=()
        )

    async def _read(self, wanted: WantedKeys) -> Fetched:
        if not wanted.discovered:
            return await self._fetching(wanted.uri, self._networks)
        told = await self._fetching(wanted.uri, self._networks)
        try:
            document = json.loads(_text(told.body))
        except (ValueError, RecursionError) as error:
            raise FetchError("what it says of itself is no JSON") from error
        document = document if isinstance(document, dict) else {}
        if document.get("issuer") != wanted.discovered:
            raise FetchError("what it says of itself is of another issuer")
        where = document.get("jwks_uri")
        if not isinstance(where, str):
            raise FetchError("it does not say where its keys are ('jwks_uri')")
        return await self._fetching(where, self._networks)

    def _expire(self) -> bool:
        """Take keys out of force that were not fetched for too long; whether there were any."""
        oldest = self._clock() - KEPT_SECONDS
        old = [uri for uri, state in self._states.items() if state.text and state.fetched <= oldest]
        for uri in old:
            self._states[uri] = replace(self._states[uri], text="")
        return bool(old)

    def _publish(self) -> None:
        self._expire()
        keys = tuple(KeySet(uri, state.text) for uri, state in sorted(self._states.items()) if state.text)
        contents = Contents(keys=keys, problems=tuple(self._problems()))
        if contents != self._contents.value:
            self._contents.set(contents)

    def _problems(self) -> Iterator[Problem]:
        for one in self._wanted[:MOST_SERVERS]:
            yield from _state_problems(one, self._states.get(one.uri, _UNKNOWN))
        for one in self._wanted[MOST_SERVERS:]:
            for document, path in one.places:
                message = f"keys are fetched from {MOST_SERVERS} addresses at most, and older documents name so many"
                yield problem_at(document, path, "keys-unreachable", message, "fewer issuers")


def _state_problems(wanted: WantedKeys, state: _State) -> Iterator[Problem]:
    for document, path in wanted.places:
        rule = document.spec.jwt_rules[int(path[2])]
        if state.reason:
            since = f"since {instant(state.failing)}"
            message = f"the keys of {rule.issuer} cannot be fetched from {wanted.uri} {since}: {state.reason}; "
            if state.text:
                until = instant(state.fetched + KEPT_SECONDS)
                message += f"those of {instant(state.fetched)} stay in force until {until}"
                yield problem_at(document, path, "keys-outdated", message, severity=Severity.WARNING)
            else:
                message += "until they can, its tokens are refused"
                yield problem_at(document, path, "keys-not-fetched", message, "a JSON Web Key Set")
        for reason in state.left_out:
            message = f"a key at {wanted.uri} is not used: {reason}"
            yield problem_at(document, path, "key-left-out", message, severity=Severity.WARNING)


def allowed_networks(snapshot: ConfigSnapshot) -> tuple[Network, ...]:
    """The networks beside public addresses that may be asked."""
    spec = build_settings(settings_documents(snapshot.documents), snapshot.settings).spec
    return tuple(ipaddress.ip_network(text) for text in spec.jwks_allowed_networks)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise FetchError("its answer is no text") from error


def _key(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()
