"""Virtual addresses: which number each service has, kept in the store, so that it is the same for good."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from weft.aio.cell import Cell
from weft.mesh.policies.meshconfig import build_settings, settings_documents
from weft.mesh.services.addresses import Kept, assign, given_numbers, service_key, wanting
from weft.model.document import Document
from weft.model.names import Assigned
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.kinds.core import ServiceSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.serviceentry import ServiceEntrySpec
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.store.protocol import Change, ConflictError, Delete, Put, Store, StoreError

BUCKET = "addresses"
_TURN = ("addresses-turn", "turn")
"""An entry that every write replaces: who has read it wrote last, so no two services are given one number."""
_TRIES = 10
_RETRY_SECONDS = 2.0
_CONCERNED = (ServiceSpec, ServiceEntrySpec, MeshConfigSpec, ConfigMapSpec)
"""Kinds that say who has an address, and from which range."""


class AddressSource:
    """A source without documents: `contents` are the numbers of the services that the documents of `collected` declare.
    A number is told when it is written down, never before. Of its bucket other control planes may be writers, too: what
    they wrote is read before it writes itself."""

    def __init__(
        self, store: Store, collected: Callable[[], Cell[Collected]], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._collected = collected
        self._clock = clock
        self._contents: Cell[Contents | None] = Cell(None)
        self._kept: dict[str, Kept] = {}
        self._turn = 0
        self._told: dict[str, Assigned] = {}

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def load(self) -> None:
        """Read what was kept. StoreError if it cannot be: who numbered anew would move every service."""
        turn = await self._store.get(*_TURN)
        self._turn, self._kept = turn.revision if turn is not None else 0, {}
        _, entries = await self._store.list(BUCKET)
        used: set[int] = set()
        for entry in entries:
            try:
                kept = msgspec.json.decode(entry.value, type=Kept)
            except msgspec.DecodeError:
                continue  # of another version of weft
            if kept.number > 0 and kept.number not in used:
                used.add(kept.number)
                self._kept[entry.key] = kept

    async def run(self) -> None:
        """Number what is new, for ever."""
        self._tell()
        version = 0
        followed: tuple[Document[object], ...] | None = None
        while True:
            version = await self._collected().changed(version)
            snapshot = self._collected().value.snapshot
            concerned = tuple([each for each in snapshot.documents if isinstance(each.spec, _CONCERNED)])
            if concerned == followed:
                continue
            followed = concerned if await self._follow(snapshot) else None
            if followed is None:
                await asyncio.sleep(_RETRY_SECONDS)
                version = 0

    async def _follow(self, snapshot: ConfigSnapshot) -> bool:
        """Number the services of a snapshot; whether that could be written down."""
        ranges = build_settings(settings_documents(snapshot.documents), snapshot.settings).ranges
        wanted = wanting(snapshot.documents)
        taken = given_numbers(snapshot.documents, ranges)
        for _ in range(_TRIES):
            try:
                unplaced = await self._assign(wanted, taken, ranges.size)
                break
            except ConflictError:
                continue
            except StoreError:
                return False
        else:
            return False
        self._tell(_unplaced_problems(snapshot.documents, frozenset(unplaced), str(ranges.ipv4)))
        return True

    async def _assign(self, wanted: Sequence[str], taken: frozenset[int], size: int) -> tuple[str, ...]:
        """Write down who has which number now; who has none. ConflictError: another control plane did; StoreError."""
        turn = await self._store.get(*_TURN)
        if (turn.revision if turn is not None else 0) != self._turn:
            await self.load()
        kept, unplaced = assign(self._kept, wanted, taken, size, self._clock())
        changes: list[Change] = [
            Put(BUCKET, service, msgspec.json.encode(each))
            for service, each in kept.items()
            if self._kept.get(service) != each
        ]
        changes += [Delete(BUCKET, service) for service in self._kept if service not in kept]
        if changes:
            mark = Put(*_TURN, secrets.token_bytes(8))
            self._turn = await self._store.write([*changes, mark], {_TURN: self._turn})
        self._kept = kept
        return unplaced

    def _tell(self, problems: tuple[Problem, ...] = ()) -> None:
        """What has not changed stays the same object. Numbers of services that are gone are kept, and nobody's."""
        found = {name: Assigned(name, each.number) for name, each in self._kept.items() if not each.gone}
        self._told = {name: each if self._told.get(name) != each else self._told[name] for name, each in found.items()}
        contents = Contents(problems=problems, assigned=tuple(self._told[name] for name in sorted(self._told)))
        if contents != self._contents.value:
            self._contents.set(contents)


def _unplaced_problems(
    documents: tuple[Document[object], ...], unplaced: frozenset[str], ranges: str
) -> tuple[Problem, ...]:
    """Services that have no address because the range is full."""
    return tuple(_full(each, ranges) for each in documents if unplaced and _keys(each) & unplaced)


def _keys(document: Document[object]) -> frozenset[str]:
    spec = document.spec
    if isinstance(spec, ServiceEntrySpec):
        return frozenset(service_key(document.key, host) for host in spec.hosts)
    return frozenset((service_key(document.key),)) if isinstance(spec, ServiceSpec) else frozenset()


def _full(document: Document[object], range4: str) -> Problem:
    message = f"every address of {range4} belongs to another service, so this one has none: its name is not answered"
    expected = "a larger range in serviceAddresses of the MeshConfig, or an address of its own"
    origin, path = document.at("metadata", "name"), ("metadata", "name")
    return Problem(Severity.WARNING, "no-address-left", message, origin, document.key, path, expected)
