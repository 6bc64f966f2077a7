"""The source of documents behind a Kubernetes API server: one watch for each kind that it has and weft reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from weft.aio.backoff import Backoff
from weft.aio.cell import Cell
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.registry import Kind
from weft.sources.contents import Contents
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.discovery import (
    ACCEPT,
    FOLLOWED,
    PATHS,
    DiscoveryError,
    Found,
    Served,
    found_from,
)
from weft.sources.kubernetes.documents import PREFIX, Reading, reading_of
from weft.sources.kubernetes.reflection import Changes, Name
from weft.sources.kubernetes.reflector import USUAL, Failure, Pace, Reflector
from weft.sources.kubernetes.scope import Gate, Scope, place_of, place_of_namespace, scope_problems
from weft.sources.ordered import Key, Ordered

_log = logging.getLogger("weft.kubernetes")
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


@dataclass(frozen=True, slots=True)
class _Following:
    """A kind that is followed."""

    served: Served
    reflector: Reflector[Reading]
    task: asyncio.Task[None]
    gate: Gate[Reading] | None = None

    @property
    def settled(self) -> bool:
        """Whether a snapshot may do without more of it. A kind that weft may not read is left out, unless it is about
        security: without its documents doors would be open that they close."""
        failure = self.reflector.failure
        refused = failure is not None and failure.status == _FORBIDDEN
        return self.reflector.whole or (refused and not self.served.kind.security)


@dataclass(frozen=True, slots=True)
class ServedObject:
    """One object of a kind that is followed."""

    served: Served
    uid: str
    reading: Reading

    @property
    def path(self) -> str:
        """Where it stands."""
        key = self.reading.key
        return self.served.path_of(key.namespace, key.name)


@dataclass(frozen=True, slots=True)
class KindState:
    """How it stands with a kind, called as kubectl calls it: how many objects there are, how often all of them were
    listed, and whether they are followed now."""

    name: str
    objects: int
    lists: int
    followed: bool


class KubernetesSource:
    """`name` is what people call the server. `contents` is None until every kind that the server has was read once."""

    def __init__(
        self,
        name: str,
        credentials: Credentials,
        *,
        pace: Pace = USUAL,
        kinds: Sequence[Kind] = FOLLOWED,
        scope: Scope | None = None,
    ) -> None:
        self._name = name
        self._credentials = credentials
        self._pace = pace
        self._kinds = tuple(kinds)
        self._scope = scope
        self._contents: Cell[Contents | None] = Cell(None)
        self._documents: Ordered[Document[object]] = Ordered()
        self._problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        self._following: dict[str, _Following] = {}
        self._found: Found | None = None
        self._failure: Failure | None = None
        self._stirred = asyncio.Event()
        self._by_kind: dict[tuple[str, str], _Following] = {}
        self.told: Callable[[ObjectKey], None] = lambda _key: None
        """Is called with each object that is new, different or gone."""

    @property
    def name(self) -> str:
        """What people call the server."""
        return self._name

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    def problems(self) -> tuple[Problem, ...]:
        """What keeps the server from being followed; told also while there are no contents."""
        failures = [(each, each.reflector.failure) for each in self._following.values()]
        of_scope = self._scope.failure if self._scope is not None else None
        of_server = [self._failure, of_scope, *(failure for _, failure in failures)]
        first = next((one for one in of_server if one and one.status not in (_FORBIDDEN, _NOT_FOUND)), None)
        found = [self._of_server(first)] if first is not None else []
        found += [self._of_kind(each, one) for each, one in failures if one and one.status == _FORBIDDEN]
        found += [self._of_version(kind, versions) for kind, versions in (self._found or Found()).unreadable]
        if self._scope is not None:
            found += scope_problems(self._scope, self._name)
        return tuple(found)

    def served(self, key: ObjectKey) -> Served | None:
        """The kind of an object, as the server has it."""
        following = self._by_kind.get((key.group, key.kind))
        return following.served if following is not None else None

    def object_of(self, key: ObjectKey) -> ServedObject | None:
        """An object as the server has it, as far as that is known."""
        following = self._by_kind.get((key.group, key.kind))
        found = following.reflector.find((key.namespace, key.name)) if following is not None else None
        return ServedObject(following.served, *found) if following is not None and found is not None else None

    def states(self) -> tuple[KindState, ...]:
        """How it stands with every kind that the server has."""
        found = []
        for each in self._following.values():
            one, name = each.reflector, each.served.kind.full_word
            found.append(KindState(name, one.size, one.lists, one.whole and one.failure is None))
        return tuple(sorted(found, key=lambda state: state.name))

    async def run(self) -> None:
        """Follow for ever."""
        async with ApiClient(self._credentials) as client, asyncio.TaskGroup() as group:
            group.create_task(self._publish())
            if self._scope is not None:
                self._scope.listeners.append(self._stirred.set)
                group.create_task(self._scope.run(client))
                await self._scope.known()
            await self._discover(client, group)

    async def _discover(self, client: ApiClient, group: asyncio.TaskGroup) -> None:
        """Look which kinds the server has, again and again: one may come at any time."""
        backoff = Backoff(self._pace.retry, self._pace.longest_retry)
        tags = [""] * len(PATHS)
        while True:
            try:
                looked = [await client.get(path, ACCEPT, tag) for path, tag in zip(PATHS, tags, strict=True)]
                if any(answer.fresh for answer in looked):
                    await client.get("/readyz", accept="*/*")  # before that, it does not know all of its kinds
                    looked = [await client.get(path, ACCEPT) for path in PATHS]
                    self._found = found_from([answer.body for answer in looked], self._kinds)
                    tags = [answer.tag for answer in looked]
                    self._stirred.set()
                self._follow(client, group)
                if self._failure is not None:
                    _log.info("%s can be asked for its kinds again", self._name)
                    self._failure = None
                    self._stirred.set()
                backoff.reset()
                wait = self._pace.discovery
            except (ApiError, DiscoveryError) as error:
                wait = self._failed(error, backoff)
            await asyncio.sleep(wait)

    def _failed(self, error: ApiError | DiscoveryError, backoff: Backoff) -> float:
        status, after = (error.status, error.after) if isinstance(error, ApiError) else (0, 0.0)
        failure = Failure(str(error), status)
        if self._failure is None:
            _log.warning("%s cannot be asked for its kinds: %s", self._name, failure.message)
        if failure != self._failure:
            self._failure = failure
            self._stirred.set()
        return backoff.next(after)

    def _follow(self, client: ApiClient, group: asyncio.TaskGroup) -> None:
        """Begin with kinds that came, and end with those that went."""
        served = {each.path: each for each in self._found.served} if self._found is not None else {}
        for path, each in served.items():
            if path not in self._following:
                self._following[path] = self._begin(client, each, group)
                self._by_kind[each.kind.group, each.kind.name] = self._following[path]
                self._stirred.set()
        for path, following in list(self._following.items()):
            if path in served:
                continue
            newer = [one for one in self._following.values() if one is not following and _one_kind(one, following)]
            failure = following.reflector.failure
            if newer and newer[0].reflector.whole:
                self._end(path, newer[0].reflector.values)
            elif not newer and failure is not None and failure.status == _NOT_FOUND:
                _log.info("%s has no %s any more", self._name, following.served.kind.full_word)
                self._end(path, {})

    def _begin(self, client: ApiClient, served: Served, group: asyncio.TaskGroup) -> _Following:
        """Follow a kind, those objects of it that are in view."""
        read, path = reading_of(served.kind), served.path
        scope, gate = self._scope, None
        if scope is None:
            reflector = Reflector(client, path, read, self._take, self._stirred.set, self._pace)
        else:
            of_itself = served.kind.spec is NamespaceSpec
            place = place_of_namespace if of_itself else place_of
            gate = Gate(scope, self._take, place, needed=served.kind.security)
            reflector = Reflector(client, path, read, gate.take, scope.stir, self._pace, gate.keeps)
            gate.reflector = reflector
            scope.add(gate)
        return _Following(served, reflector, group.create_task(reflector.run()), gate)

    def _end(self, path: str, instead: Mapping[Name, Reading]) -> None:
        """A kind is there no more, its own list says so too; or it is there in another version, with these objects."""
        following = self._following.pop(path)
        following.task.cancel()
        if self._scope is not None and following.gate is not None:
            self._scope.remove(following.gate)
        kind = (following.served.kind.group, following.served.kind.name)
        if self._by_kind.get(kind) is following:
            del self._by_kind[kind]
        gone = following.reflector.clear().gone
        take = following.gate.take if following.gate is not None else self._take
        take(Changes(instead, {name: last for name, last in gone.items() if name not in instead}))

    def _take(self, changes: Changes[Reading]) -> None:
        for reading in changes.come.values():
            self.told(reading.key)
            self._note(reading.key, reading.problems)
            if reading.document is None:
                self._documents.drop(_order(reading.key))
            else:
                self._documents.set(_order(reading.key), reading.document)
        for reading in changes.gone.values():
            self.told(reading.key)
            self._note(reading.key, ())
            self._documents.drop(_order(reading.key))
        self._stirred.set()

    def _note(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        if problems:
            self._problems[key] = problems
        else:
            self._problems.pop(key, None)

    async def _publish(self) -> None:
        """Publish what is known, when something is new and all that the server has was read once."""
        waiting: tuple[Problem, ...] = ()
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            known = self._found is not None and all(each.settled for each in self._following.values())
            if not known and self._contents.value is None:
                waiting = tell_waiting(self.problems(), waiting)
                continue
            told = (problem for _, found in sorted(self._problems.items()) for problem in found)
            view = self._scope.view.value if self._scope is not None else None
            contents = Contents(self._documents.values, problems=(*self.problems(), *told), view=view)
            if contents != self._contents.value:
                self._contents.set(contents)
            await asyncio.sleep(0)  # others may have changed more meanwhile

    def _of_server(self, failure: Failure) -> Problem:
        text = f"the API server of {self._name} cannot be followed: {failure.message}; {self._meanwhile()}"
        expected = "an API server that answers" if failure.status != _UNAUTHORIZED else "credentials that it takes"
        return self._problem("kubernetes-unavailable", text, expected)

    def _of_kind(self, following: _Following, failure: Failure) -> Problem:
        kind = following.served.kind
        text = f"{kind.full_word} cannot be read: {failure.message}"
        if following.reflector.whole:
            text += "; what was read last stays in force"
        elif kind.security:
            text += "; nothing is in force before they are read: they say who may do what"
        else:
            text += "; the mesh does without them"
        expected = f"a ClusterRole that allows to watch {kind.full_word}"
        return self._problem("kubernetes-refused", text, expected)

    def _of_version(self, kind: Kind, versions: Iterable[str]) -> Problem:
        text = f"{kind.full_word} are there in {', '.join(versions)} only, which weft does not read"
        return self._problem("kubernetes-version", text, " or ".join(kind.versions))

    def _meanwhile(self) -> str:
        return "nothing was read yet" if self._contents.value is None else "what was read last stays in force"

    def _problem(self, code: str, text: str, expected: str) -> Problem:
        return Problem(Severity.ERROR, code, text, Origin(f"{PREFIX}{self._name}"), expected=expected)


def tell_waiting(problems: tuple[Problem, ...], told: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Say in the log what the mesh waits for, unless it was `told`: nobody can ask before there is one."""
    for problem in problems if problems != told else ():
        _log.warning("the mesh waits: %s", problem)
    return problems


def _one_kind(first: _Following, second: _Following) -> bool:
    return first.served.kind is second.served.kind


def _order(key: ObjectKey) -> Key:
    return key.group, key.kind, key.namespace, key.name
