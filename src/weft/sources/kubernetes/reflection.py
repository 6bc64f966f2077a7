"""A reflection: the objects of one kind as the API server has told them. A state machine without I/O, clock or chance.

`begin` says what to ask for, `take` is given each event, `forget` when the server knows the place no more.
A list comes as a stream, which ends with a bookmark; until then nothing of it counts, and then only what differs from
what was known before does. https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

ValueT = TypeVar("ValueT")
Name = tuple[str, str]
"""Namespace (empty where there is none) and name."""

_LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
_WATCH = {"allowWatchBookmarks": "true"}
_ALL_TOLD = "k8s.io/initial-events-end"
_GONE = 410
_THERE = ("ADDED", "MODIFIED")


@dataclass(frozen=True, slots=True)
class Told:
    """An object as it was told. `text` is all of it, as JSON."""

    namespace: str
    name: str
    uid: str
    version: str
    text: str = field(repr=False)


Decode = Callable[[Told, ValueT | None], ValueT]
"""A value from an object and the value that was there before under its name. It raises nothing."""


@dataclass(frozen=True, slots=True)
class Changes(Generic[ValueT]):
    """What is there now, and what is no more, as it was last."""

    come: Mapping[Name, ValueT] = field(default_factory=dict)
    gone: Mapping[Name, ValueT] = field(default_factory=dict)


class WatchError(Exception):
    """The stream says that it failed, or cannot be read. `status` is the code that it says, else 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Held(Generic[ValueT]):
    uid: str
    version: str
    value: ValueT


def _every(_: Name) -> bool:
    return True


class Reflection(Generic[ValueT]):
    """See the module. Of each object that it `keeps` only what `decode` makes of it is kept."""

    def __init__(self, decode: Decode[ValueT], keeps: Callable[[Name], bool] = _every) -> None:
        self._decode = decode
        self._keeps = keeps
        self._outdated = False
        self._held: dict[Name, _Held[ValueT]] = {}
        self._fresh: dict[Name, _Held[ValueT]] | None = None
        self._version = ""
        self.lists = 0
        """How often all objects were told."""

    @property
    def whole(self) -> bool:
        """Whether all objects were told at least once."""
        return self.lists > 0

    @property
    def current(self) -> bool:
        """Whether all objects were told since `relist` was called last."""
        return self.whole and not self._outdated and self._fresh is None

    @property
    def follows(self) -> bool:
        """Whether everything that the server has is known, but for what it tells from here on."""
        return self.whole and self._fresh is None and bool(self._version)

    def begin(self) -> Mapping[str, str]:
        """A stream begins: what to ask for. A list that was broken off is asked for anew."""
        if self._version and not self._outdated:
            self._fresh = None
            return {**_WATCH, "resourceVersion": self._version}
        self._fresh, self._outdated = {}, False
        return _LIST

    def forget(self) -> None:
        """The next stream lists everything again. What is known stays until that is whole."""
        self._version = ""

    def relist(self) -> None:
        """The same, since more objects are kept from now on: a list that is under way is worth nothing."""
        self._outdated = True

    def drop(self, belongs: Callable[[Name], bool]) -> Mapping[Name, ValueT]:
        """Forget objects, which are not kept any more; what was known of them."""
        for objects in (self._fresh or {}, self._held):
            gone = {name: objects.pop(name).value for name in [name for name in objects if belongs(name)]}
        return gone

    def clear(self) -> Changes[ValueT]:
        """There is no such kind any more, so none of its objects."""
        gone = self.values
        self._held, self._fresh, self._version = {}, None, ""
        return Changes(gone=gone)

    @property
    def size(self) -> int:
        """How many objects are known."""
        return len(self._held)

    @property
    def values(self) -> Mapping[Name, ValueT]:
        """What is known of all objects."""
        return {name: held.value for name, held in self._held.items()}

    def find(self, name: Name) -> tuple[str, ValueT] | None:
        """The uid of one object, and what is known of it."""
        held = self._held.get(name)
        return (held.uid, held.value) if held is not None else None

    def take(self, line: bytes) -> Changes[ValueT] | None:
        """Follow one event; what changed by it, None if that is not known before the end of the list.

        Raises WatchError, after which the stream is to be ended.
        """
        try:
            event = msgspec.json.decode(line, type=_Event)
            if event.type == "ERROR":
                raise self._failure(msgspec.json.decode(event.object, type=_Failure))
            about = msgspec.json.decode(event.object, type=_Object).metadata
            kept = event.type in _THERE and self._keeps((about.namespace, about.name))
            text = str(event.object, "utf-8") if kept else ""
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.forget()
            raise WatchError("an event cannot be read") from error
        if event.type == "BOOKMARK":
            return self._bookmark(about)
        if event.type not in (*_THERE, "DELETED"):
            self.forget()
            raise WatchError(f"there is an event of an unknown type '{event.type[:20]}'")
        told = Told(about.namespace, about.name, about.uid, about.resource_version, text)
        return self._change(told, gone=not kept)

    def _failure(self, said: _Failure) -> WatchError:
        if said.code == _GONE:
            self.forget()
        return WatchError(said.message or f"the watch ended with {said.code}", said.code)

    def _bookmark(self, about: _Metadata) -> Changes[ValueT] | None:
        if self._fresh is None:
            self._version = about.resource_version
            return None
        if self._outdated or (about.annotations or {}).get(_ALL_TOLD) != "true":
            return None
        before, self._held, self._fresh = self._held, self._fresh, None
        self._version = about.resource_version
        self.lists += 1
        come = {name: held.value for name, held in self._held.items() if before.get(name) is not held}
        return Changes(come, {name: held.value for name, held in before.items() if name not in self._held})

    def _change(self, told: Told, *, gone: bool) -> Changes[ValueT] | None:
        name = (told.namespace, told.name)
        listing = self._fresh is not None
        objects = self._held if self._fresh is None else self._fresh
        if not listing:
            self._version = told.version
        if gone:
            last = objects.pop(name, None)
            return Changes(gone={name: last.value}) if last is not None and not listing else None
        before = objects.get(name) or self._held.get(name)
        if before is not None and (before.uid, before.version) == (told.uid, told.version):
            objects[name] = before
            return None
        value = self._decode(told, before.value if before is not None else None)
        objects[name] = _Held(told.uid, told.version, value)
        return None if listing else Changes({name: value})
