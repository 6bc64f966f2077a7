"""The source of a cluster's Secrets and ConfigMaps that documents refer to: one watch for each, and no others are read.

A snapshot whose references were never read is held back, for `PATIENCE` seconds at most: so long a Gateway would be
served as if its Secret were not there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from weft.aio.cell import Cell
from weft.mesh.gateways.serving import servers_of
from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.referred import referred
from weft.mesh.uses import Referred
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.registry import Kind, kind_of
from weft.sources.contents import Contents
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.budget import within_budget
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.documents import PREFIX, Reading
from weft.sources.kubernetes.entries import entries_of, unreadable_document
from weft.sources.kubernetes.reflection import Changes
from weft.sources.kubernetes.reflector import USUAL, Failure, Pace, Reflector
from weft.sources.kubernetes.source import KindState
from weft.sources.ordered import Key, Ordered

PATIENCE = 5.0
"""Seconds that a snapshot waits for what it refers to for the first time."""
MOST = 500
"""Objects that are read at a time, of all namespaces together: see `within_budget`."""
_FORBIDDEN = 403
_What = tuple[ObjectKey, frozenset[str] | None]
"""An object, and what is looked at of it."""


@dataclass(slots=True)
class _Watch:
    """One object that is followed, and, by the event loop's clock, until `due` for the first time. `before` is what an
    earlier watch, which looked at fewer of its entries, knew of it."""

    kind: Kind
    entries: frozenset[str] | None
    reflector: Reflector[Reading]
    task: asyncio.Task[None]
    due: float
    closed: Document[object]
    before: Reading | None = None

    @property
    def reading(self) -> Reading | None:
        """What is known of it; None where it is not there, or was never read."""
        if not self.reflector.whole:
            return self.before
        return next(iter(self.reflector.values.values()), None)

    @property
    def refused(self) -> bool:
        """Whether weft may not read it."""
        failure = self.reflector.failure
        return failure is not None and failure.status == _FORBIDDEN

    def is_late(self, now: float) -> bool:
        """Whether it should have been read by now."""
        return not self.reflector.whole and now >= self.due


class ReferredSource:
    """`name` is what people call the server."""

    def __init__(
        self,
        name: str,
        credentials: Credentials,
        *,
        pace: Pace = USUAL,
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._credentials = credentials
        self._pace = pace
        self._most = most
        self._patience = patience
        self._memo = Memo()
        self._contents: Cell[Contents | None] = Cell(None)
        self._documents: Ordered[Document[object]] = Ordered()
        self._looked_at: tuple[Document[object], ...] | None = None
        self._about: tuple[object, ...] = ()
        self._wanted: Mapping[ObjectKey, Referred] = {}
        self._beyond: Mapping[ObjectKey, Referred] = {}
        self._closed: frozenset[ObjectKey] = frozenset()
        self._due: dict[_What, float] = {}
        self._watches: dict[ObjectKey, _Watch] = {}
        self._settled: frozenset[_What] = frozenset()
        self._stirred = asyncio.Event()
        self._holding = False
        self._begun = False

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value; it stands back behind what other sources have."""
        return self._contents

    @property
    def followed(self) -> tuple[ObjectKey, ...]:
        """The objects that are read."""
        return tuple(sorted(self._watches))

    def states(self) -> tuple[KindState, ...]:
        """How it stands with the objects of each kind together."""
        found = []
        for name in sorted({each.kind.full_word for each in self._watches.values()}):
            own = [each for each in self._watches.values() if each.kind.full_word == name]
            well = all(each.reflector.whole and each.reflector.failure is None for each in own)
            lists = sum(each.reflector.lists for each in own)
            found.append(KindState(name, sum(each.reflector.size for each in own), lists, well))
        return tuple(found)

    def admits(self, snapshot: ConfigSnapshot) -> bool:
        """Told of a snapshot before it is published: whether all that it refers to was read, or need not be waited for.

        If not, there will be new contents when something has changed about that.
        """
        now = asyncio.get_running_loop().time()
        self._want(snapshot, now)
        self._holding = not self._settled.issuperset(map(_what, (*self._wanted.values(), *self._beyond.values())))
        self._begun = self._begun or not self._holding
        return not self._holding

    async def run(self) -> None:
        """Follow for ever."""
        self._publish()
        async with ApiClient(self._credentials) as client, asyncio.TaskGroup() as group:
            while True:
                await self._woken()
                self._follow(client, group)
                self._publish()

    def _want(self, snapshot: ConfigSnapshot, now: float) -> None:
        self._memo.begin()
        servers = servers_of(self._memo, snapshot.workloads)
        about = (servers, snapshot.settings)
        if snapshot.documents is self._looked_at and about == self._about:
            return  # only those decide, and workloads come and go all the time
        self._looked_at, self._about = snapshot.documents, about
        others = _of_others(snapshot)
        found = [each for each in referred(snapshot, self._memo) if each.key not in others]
        self._memo.end()
        wanted, beyond = ({each.key: each for each in part} for part in within_budget(found, self._most))
        if _said(wanted) != _said(self._wanted) or _said(beyond) != _said(self._beyond):
            self._stirred.set()
        self._wanted, self._beyond = wanted, beyond
        self._due = {each: self._due.get(each, now + self._patience) for each in map(_what, wanted.values())}

    def _follow(self, client: ApiClient, group: asyncio.TaskGroup) -> None:
        """Begin with what is wanted, and end with what is not any more."""
        for key in [key for key in self._watches if key not in self._wanted]:
            self._watches.pop(key).task.cancel()
            if key not in self._beyond:
                self._documents.drop(_order(key))
        self._close()
        for key, wanted in self._wanted.items():
            watch = self._watches.get(key)
            if watch is None or watch.entries != wanted.entries:
                before = None
                if watch is not None:
                    watch.task.cancel()
                    before = watch.reading
                self._watches[key] = self._watch(client, group, wanted, before)

    def _close(self) -> None:
        """Of what is beyond, proxies keep what they have: a Secret is closed, a ConfigMap stays as it was read."""
        for key in self._closed - self._beyond.keys() - self._wanted.keys():
            self._documents.drop(_order(key))
        for key in self._beyond.keys() - self._closed:
            if key.kind == "Secret":
                self._documents.set(_order(key), unreadable_document(key))
        self._closed = frozenset(self._beyond)

    def _watch(self, client: ApiClient, group: asyncio.TaskGroup, wanted: Referred, before: Reading | None) -> _Watch:
        key, kind = wanted.key, kind_of(wanted.key.group, wanted.key.kind)
        assert kind is not None  # noqa: S101 - both kinds are in the registry
        namespace, selector = quote(key.namespace, safe=""), quote(f"metadata.name={key.name}", safe="")
        path = f"/api/v1/namespaces/{namespace}/{kind.plural}?fieldSelector={selector}"
        decode = entries_of(kind, wanted.entries)
        reflector = Reflector(client, path, decode, self._changed, self._stirred.set, self._pace)
        task = group.create_task(reflector.run())
        return _Watch(kind, wanted.entries, reflector, task, self._due[_what(wanted)], unreadable_document(key), before)

    def _changed(self, _: Changes[Reading]) -> None:
        self._stirred.set()

    async def _woken(self) -> None:
        """Until something has changed, or somebody has waited long enough."""
        now = asyncio.get_running_loop().time()
        ends = [each.due for each in self._watches.values() if not each.reflector.whole]
        left = min((end - now for end in ends if end > now), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._stirred.wait()
        self._stirred.clear()

    def _publish(self) -> None:
        now = asyncio.get_running_loop().time()
        problems: list[Problem] = []
        for key, watch in sorted(self._watches.items()):
            reading = watch.reading
            document = reading.document if reading is not None else None
            unread = not watch.reflector.whole and (watch.refused or watch.is_late(now))
            if document is None and unread and key.kind == "Secret":
                document = watch.closed
            if document is None:
                self._documents.drop(_order(key))
            else:
                self._documents.set(_order(key), document)
            problems += reading.problems if reading is not None else ()
            problems += self._failures(self._wanted[key], watch, now)
        problems += (problem for each in self._beyond.values() for problem in _too_many(each, self._most))
        settled = [self._wanted[key] for key in self._watches if self._is_settled(key, now)]
        self._settled = frozenset(map(_what, (*settled, *self._beyond.values())))
        contents = Contents(self._documents.values, problems=tuple(problems), yields=True)
        if contents != self._contents.value or self._holding:
            self._contents.set(contents)

    def _is_settled(self, key: ObjectKey, now: float) -> bool:
        """Whether a snapshot need not wait for an object. For mesh-wide settings the first one waits as for documents:
        nothing is in force before they are read."""
        watch = self._watches[key]
        known = watch.reflector.whole or watch.refused
        return known or (watch.is_late(now) and (self._begun or bool(self._wanted[key].places)))

    def _failures(self, wanted: Referred, watch: _Watch, now: float) -> Iterator[Problem]:
        failure = watch.reflector.failure
        if watch.refused or watch.is_late(now) or (failure is not None and failure.status):
            yield from _failures(wanted, watch, failure or Failure("there is no answer yet", 0), self._name)


def _failures(wanted: Referred, watch: _Watch, failure: Failure, server: str) -> Iterator[Problem]:
    """Why an object cannot be read, told where it is named. That the server is away is told once, by others."""
    key, plural = wanted.key, watch.kind.plural
    text = f"{key} cannot be read: {failure.message}"
    if watch.reading is not None:
        text += "; what was read last stays in force"
    elif key.kind == "Secret":
        text += "; proxies that have it keep it"
    code, expected = "kubernetes-unavailable", "an API server that answers"
    if watch.refused:
        code = "kubernetes-refused"
        expected = f"a Role in namespace '{key.namespace}' that allows watch of {plural}, resourceNames {key.name}"
    if not wanted.places:
        where = Origin(f"{PREFIX}{server}")
        yield Problem(Severity.WARNING, code, text, where, expected=expected)
    for document, path in wanted.places:
        yield problem_at(document, path, code, text, expected)


def _too_many(wanted: Referred, most: int) -> Iterator[Problem]:
    for document, path in wanted.places:
        text = (
            f"{wanted.key} is not read: {most} Secrets and ConfigMaps are at most, and older documents of this "
            "namespace name its share of them; proxies that have it keep it"
        )
        yield problem_at(document, path, "kubernetes-too-many", text, "fewer, or the others as files (--documents)")


def _of_others(snapshot: ConfigSnapshot) -> frozenset[ObjectKey]:
    """Secrets and ConfigMaps that followed files have."""
    given = [each for each in snapshot.documents if each.key.kind in ("Secret", "ConfigMap") and not each.key.group]
    return frozenset([each.key for each in given if not each.origin.source.startswith(PREFIX)])


def _said(given: Mapping[ObjectKey, Referred]) -> list[tuple[object, ...]]:
    return [(each.key, each.entries, each.places) for each in given.values()]


def _what(wanted: Referred) -> _What:
    return wanted.key, wanted.entries


def _order(key: ObjectKey) -> Key:
    return key.group, key.kind, key.namespace, key.name
