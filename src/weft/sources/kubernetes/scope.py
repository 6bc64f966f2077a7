"""The scope of a mesh in a cluster: which namespaces are in its view, as their labels say.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/ (discoverySelectors). Objects of other namespaces are
dropped as they come. A namespace that comes into view is read first, of every kind, and then shown all at once: its
Services are never there without its policies. One that leaves goes all at once. Namespaces whose labels are not known
yet are read and not shown, so that one that is new is read once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from weft.aio.cell import Cell
from weft.mesh.policies.selector import Selector
from weft.model.document import ObjectKey
from weft.model.namespaces import NamespaceView
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.revisions import revision_of_namespace
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.reflection import Changes, Name, Told
from weft.sources.kubernetes.reflector import USUAL, Failure, Pace, Reflector

ValueT = TypeVar("ValueT")
NAMESPACES = "/api/v1/namespaces"
_NONE: frozenset[str] = frozenset()
_FORBIDDEN = 403


class _Metadata(msgspec.Struct):
    labels: dict[str, str] = {}


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


@dataclass(frozen=True, slots=True)
class _Namespace:
    """`selected`: it is to be in view; `injected`: it asks for sidecars."""

    selected: bool
    injected: bool


class Reader(Protocol):
    """One kind that follows the view."""

    def current(self) -> bool:
        """Whether all of it was read that was ever asked for."""

    def relist(self) -> None:
        """Read it again: more of it is wanted."""

    def show(self, names: Collection[str]) -> None:
        """Pass on what is known of these namespaces."""

    def hide(self, names: Collection[str]) -> None:
        """Forget what is known of them."""


class Scope:
    """See the module. Namespaces that one of the `selectors` matches are in view, and those named `always`."""

    def __init__(self, selectors: Iterable[Selector], always: Iterable[str], pace: Pace = USUAL) -> None:
        self._selectors = tuple(selectors)
        self._always = frozenset(always)
        self._pace = pace
        self._known: dict[str, _Namespace] = {}
        self._reflector: Reflector[_Namespace] | None = None
        self._readers: list[Reader] = []
        self._dropped = _NONE
        self._awaited = _NONE
        self._stirred = asyncio.Event()
        self.view: Cell[NamespaceView | None] = Cell(None)
        """None until all namespaces were read once."""
        self.listeners: list[Callable[[], None]] = []
        """Are called when the view may be another one, or cannot be followed."""

    @property
    def failure(self) -> Failure | None:
        """Why the namespaces cannot be followed now."""
        return self._reflector.failure if self._reflector is not None else None

    def reads(self, namespace: str) -> bool:
        """Whether objects of a namespace (empty: of none) are kept."""
        return namespace not in self._dropped

    def shows(self, namespace: str) -> bool:
        """Whether they are in view."""
        return not namespace or (self.view.value is not None and namespace in self.view.value.shown)

    def add(self, reader: Reader) -> None:
        """From now on this kind follows the view."""
        self._readers.append(reader)

    def remove(self, reader: Reader) -> None:
        """The kind is not there any more."""
        self._readers.remove(reader)
        self.stir()

    def stir(self) -> None:
        """Something is to be looked at: a kind may have been read by now."""
        self._stirred.set()

    async def known(self) -> None:
        """Wait until all namespaces were read once."""
        version = 0
        while self.view.value is None:
            version = await self.view.changed(version)

    async def run(self, client: ApiClient) -> None:
        """Follow the labels of namespaces for ever."""
        reflector = self._reflector = Reflector(client, NAMESPACES, self._decode, self._take, self.stir, self._pace)
        async with asyncio.TaskGroup() as group:
            group.create_task(reflector.run())
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                if reflector.whole:
                    self._settle()
                for listener in self.listeners:
                    listener()

    def _decode(self, told: Told, before: _Namespace | None) -> _Namespace:
        try:
            labels = msgspec.json.decode(told.text, type=_Object).metadata.labels
        except msgspec.MsgspecError:
            labels = {}
        selected = told.name in self._always or any(each.matches(labels) for each in self._selectors)
        found = _Namespace(selected, bool(revision_of_namespace(labels)))
        return before if before == found else found

    def _take(self, changes: Changes[_Namespace]) -> None:
        self._known.update({name: found for (_, name), found in changes.come.items()})
        for _, name in changes.gone:
            self._known.pop(name, None)
        self.stir()

    def _settle(self) -> None:
        """Forget namespaces that are unwanted now, read those again that were, and show all that were read."""
        wanted = self._always | {name for name, each in self._known.items() if each.selected}
        unwanted = frozenset(self._known.keys() - wanted)
        before = self.view.value.shown if self.view.value is not None else wanted
        lost, again = unwanted - self._dropped, wanted & self._dropped
        self._dropped = unwanted
        if again:
            for reader in self._readers:
                reader.relist()
        self._awaited = (self._awaited | again) & wanted
        if all(reader.current() for reader in self._readers):
            self._awaited = _NONE
        shown = frozenset(wanted - self._awaited)
        injected = frozenset([name for name in unwanted if self._known[name].injected])
        last = self.view.value
        if last is None or (last.shown, last.left_out, last.injected) != (shown, unwanted, injected):
            self.view.set(NamespaceView(shown, unwanted, injected))
        for reader in self._readers:
            if lost or before - shown:
                reader.hide(lost | (before - shown))
            if shown - before:
                reader.show(shown - before)


def place_of(name: Name) -> str:
    """The namespace of an object."""
    return name[0]


def place_of_namespace(name: Name) -> str:
    """A Namespace is of itself."""
    return name[1]


class Gate(Generic[ValueT]):
    """What lets changes of one kind through to `taken`, of namespaces in view; a `Reader`. A kind that may not be read
    is not waited for, unless it is `needed`. `place` says which namespace an object is of."""

    def __init__(
        self,
        scope: Scope,
        taken: Callable[[Changes[ValueT]], None],
        place: Callable[[Name], str],
        *,
        needed: bool,
    ) -> None:
        self._scope = scope
        self._taken = taken
        self._needed = needed
        self._place = place
        self.reflector: Reflector[ValueT] | None = None

    def keeps(self, name: Name) -> bool:
        """Whether an object is kept in memory."""
        return self._scope.reads(self._place(name))

    def take(self, changes: Changes[ValueT]) -> None:
        """Pass on what is in view."""
        shows, place = self._scope.shows, self._place
        come = {name: value for name, value in changes.come.items() if shows(place(name))}
        gone = {name: value for name, value in changes.gone.items() if shows(place(name))}
        if come or gone:
            self._taken(Changes(come, gone))

    def current(self) -> bool:
        """See `Reader`."""
        one = self.reflector
        refused = one is not None and one.failure is not None and one.failure.status == _FORBIDDEN
        return one is None or one.current or (refused and not self._needed)

    def relist(self) -> None:
        """See `Reader`."""
        if self.reflector is not None:
            self.reflector.relist()

    def show(self, names: Collection[str]) -> None:
        """See `Reader`."""
        if self.reflector is not None:
            found = {name: each for name, each in self.reflector.values.items() if self._place(name) in names}
            if found:
                self._taken(Changes(found))

    def hide(self, names: Collection[str]) -> None:
        """See `Reader`."""
        if self.reflector is not None:
            gone = self.reflector.drop(lambda name: self._place(name) in names)
            if gone:
                self._taken(Changes(gone=gone))


def scope_problems(scope: Scope, server: str) -> list[Problem]:
    """What keeps the view from being followed, and namespaces whose pods would be in the mesh and are not seen by it.
    That the API server is away is told by others."""
    found = []
    failure = scope.failure
    if failure is not None and failure.status == _FORBIDDEN:
        text = f"namespaces cannot be read, whose labels say which are in view: {failure.message}; "
        text += "nothing is in force before" if scope.view.value is None else "the view stays as it is"
        origin, expected = Origin(f"{PREFIX}{server}"), "a ClusterRole that allows to watch namespaces"
        found.append(Problem(Severity.ERROR, "kubernetes-refused", text, origin, expected=expected))
    for name in sorted(scope.view.value.injected if scope.view.value is not None else ()):
        key = ObjectKey("", "Namespace", "", name)
        text = (
            f"the namespace {name} asks for sidecars, and no discovery selector matches its labels: its pods cannot "
            "join the mesh, and new ones are refused"
        )
        expected = "labels that a discovery selector matches, or none that ask for sidecars"
        origin = Origin(f"{PREFIX}Namespace/{name}")
        found.append(Problem(Severity.WARNING, "sidecars-left-out", text, origin, key, expected=expected))
    return found
