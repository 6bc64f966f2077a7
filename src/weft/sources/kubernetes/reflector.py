"""A reflector: keeps the reflection of one kind up to date over watches of an API server, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.aio.backoff import Backoff
from weft.aio.turns import Turns
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.reflection import Changes, Decode, Name, Reflection, WatchError

ValueT = TypeVar("ValueT")
_log = logging.getLogger("weft.kubernetes")
_EXPIRED = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: between tries, at first and at most; between looks at which kinds the server has."""

    retry: float = 0.5
    longest_retry: float = 30.0
    discovery: float = 5.0


USUAL = Pace()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a kind cannot be followed now. `status` as `ApiError` has it."""

    message: str
    status: int


def _every(_: Name) -> bool:
    return True


class Reflector(Generic[ValueT]):
    """Follows the objects at `path`, those that it `keeps`. `changed` is told of changes, `stirred` that something else
    is new: that all of them are known, that there is a failure or that it is over."""

    def __init__(
        self,
        client: ApiClient,
        path: str,
        decode: Decode[ValueT],
        changed: Callable[[Changes[ValueT]], None],
        stirred: Callable[[], None],
        pace: Pace,
        keeps: Callable[[Name], bool] = _every,
    ) -> None:
        self._client = client
        self._path = path
        self._reflection = Reflection(decode, keeps)
        self._stream: asyncio.Timeout | None = None
        self._changed = changed
        self._stirred = stirred
        self._backoff = Backoff(pace.retry, pace.longest_retry)
        self.failure: Failure | None = None

    @property
    def whole(self) -> bool:
        """Whether all objects were told at least once."""
        return self._reflection.whole

    @property
    def current(self) -> bool:
        """Whether all objects were told since `relist` was called last."""
        return self._reflection.current

    @property
    def lists(self) -> int:
        """How often everything was listed."""
        return self._reflection.lists

    @property
    def size(self) -> int:
        """How many objects are known."""
        return self._reflection.size

    @property
    def values(self) -> Mapping[Name, ValueT]:
        """What is known of all objects."""
        return self._reflection.values

    def find(self, name: Name) -> tuple[str, ValueT] | None:
        """The uid of one object, and what is known of it."""
        return self._reflection.find(name)

    def relist(self) -> None:
        """List everything again: more is kept from now on. What is known stays until that is whole."""
        self._reflection.relist()
        if self._stream is not None:
            self._stream.reschedule(asyncio.get_running_loop().time())
            self._stream = None

    def drop(self, belongs: Callable[[Name], bool]) -> Mapping[Name, ValueT]:
        """Forget objects, which are not kept any more; what was known of them."""
        return self._reflection.drop(belongs)

    async def run(self) -> None:
        """Follow for ever."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                if await self._watch():
                    continue
                self._backoff.lasted(loop.time() - begun)  # where nothing changes, nothing is said
                wait = self._backoff.next()
            except (ApiError, WatchError) as error:
                wait = self._failed(error)
            except Exception as error:  # one kind must not stop the others, whatever the server may say
                _log.exception("%s: unexpected", self._path)
                self._reflection.forget()
                wait = self._failed(WatchError(f"weft cannot read this ({type(error).__name__}); please report it"))
            await asyncio.sleep(wait)

    def clear(self) -> Changes[ValueT]:
        """There is no such kind any more; what was there of it."""
        return self._reflection.clear()

    async def _watch(self) -> bool:
        """Follow until the stream ends; whether that is because all is to be listed again."""
        stream = asyncio.timeout(None)
        try:
            async with stream:
                self._stream = stream
                await self._stream_events()
        except TimeoutError:
            if not stream.expired():
                raise
            return True
        finally:
            self._stream = None
        return False

    async def _stream_events(self) -> None:
        query = self._reflection.begin()
        async with self._client.watch(self._path, query) as events:
            turns = Turns()
            if self._reflection.follows:
                self._recovered()
            async for lines in events:
                for line in lines:
                    self._take(line)
                    await turns.give()

    def _take(self, line: bytes) -> None:
        was_current = self._reflection.current
        changes = self._reflection.take(line)
        if changes is not None and (changes.come or changes.gone):
            self._changed(changes)
        self._backoff.reset()
        if self._reflection.follows:
            self._recovered()
        if self._reflection.current and not was_current:
            self._stirred()

    def _recovered(self) -> None:
        if self.failure is not None:
            _log.info("%s can be followed again", self._path)
            self.failure = None
            self._stirred()

    def _failed(self, error: ApiError | WatchError) -> float:
        """Note a failure; how long to wait. That the place in the stream is too old is none."""
        if error.status == _EXPIRED:
            self._reflection.forget()
            _log.info("%s: the server has forgotten the last place; listing again", self._path)
            return self._backoff.next()
        failure = Failure(str(error), error.status)
        if self.failure is None:
            _log.warning("%s cannot be followed: %s", self._path, failure.message)
        if failure != self.failure:
            self.failure = failure
            self._stirred()
        return self._backoff.next(error.after if isinstance(error, ApiError) else 0.0)
