"""The live stream: server-sent events, a whole picture first and then what changed, for so many pages and no more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import msgspec
from aiohttp import web

from weft.admin.dashboard.delta import Picture, changes
from weft.admin.people.access import Principal
from weft.admin.people.calling import principal_of
from weft.admin.replies import Refused
from weft.admin.routing import Route
from weft.aio.cell import Cell

PAGES = 16
"""Streams at once, of all browsers."""
_TICK_SECONDS = 1.0
_SHARE = 4
"""After a picture nothing is done for this many times as long as it took: pages cost a fifth of one core at most."""
_ALIVE_SECONDS = 15.0
_LOOK_SECONDS = 2.0
"""After so long it is noticed that a page is gone to which nothing was to be sent."""
_SLOW_SECONDS = 10.0
"""A page that does not read for so long is cut; it comes back when it can."""
_BUFFER = 256 * 1024
_log = logging.getLogger("weft.dashboard")

Part = Callable[[], Awaitable[object]]
"""Makes the present value of one part of the picture."""


class Live:
    """Handler of ``GET /v1/live``. While a page looks, one task makes the picture for all of them. `knows` says whether
    one who was let in still is somebody."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts
        self._picture: Cell[Picture] = Cell({})
        self._pages = 0
        self._failing: set[str] = set()
        self._watched = asyncio.Event()
        self.knows: Callable[[Principal], bool] = lambda _: True
        self._packed: tuple[Picture | None, Picture, bytes] = (None, {}, b"")

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (Route("GET", "/v1/live", self.stream, "Server-sent events: a picture of the mesh, then what changes"),)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/live``."""
        if self._pages >= PAGES:
            raise Refused(503, "too-many-pages", f"{PAGES} pages are followed already; close one")
        with self._looking():
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
            await response.prepare(request)
            if request.transport is not None:  # what a page has not read is bounded by this and the socket
                request.transport.set_write_buffer_limits(high=_BUFFER)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._follow(request, response)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the picture and every change until the page is gone or too slow."""
        version = await self._picture.changed(0 if self._picture.value else self._picture.version)
        sent = self._picture.value
        await _write(response, self._event(None, sent))
        loop = asyncio.get_running_loop()
        written = loop.time()
        while request.transport is not None and not request.transport.is_closing():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    version = await self._picture.changed(version)
            if not self.knows(principal_of(request)):
                return  # the session, or whose it was, has ended: the next request of the page is refused
            now = self._picture.value
            if event := self._event(sent, now):
                await _write(response, event)
            elif loop.time() - written > _ALIVE_SECONDS:
                await _write(response, b": alive\n\n")
            else:
                continue
            sent, written = now, loop.time()

    def _event(self, sent: Picture | None, now: Picture) -> bytes:
        """What a page is sent that has `sent` (None: nothing yet); empty if nothing changed. Most pages have the same:
        for them it is worked out once, since of a large mesh it takes long."""
        before, after, event = self._packed
        if before is not sent or after is not now:
            told: object = now if sent is None else changes(sent, now)
            event = _packed("snapshot" if sent is None else "change", told) if told or sent is None else b""
            self._packed = (sent, now, event)
        return event

    async def running(self, _application: web.Application) -> AsyncIterator[None]:
        """For an application's ``cleanup_ctx``: makes pictures as long as the server runs and a page looks."""
        task = asyncio.create_task(self._run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        self._pages += 1
        self._watched.set()
        try:
            yield
        finally:
            self._pages -= 1
            if not self._pages:
                self._watched.clear()
                self._picture.set({})

    async def _run(self) -> None:
        """Make the picture again and again, as fast as that is cheap."""
        loop = asyncio.get_running_loop()
        while True:
            await self._watched.wait()
            began = loop.time()
            values = dict(self._picture.value)
            for name, part in self._parts.items():
                values[name] = await self._value(name, part)
                await asyncio.sleep(0)
            if self._pages and values != self._picture.value:
                self._picture.set(values)
            await asyncio.sleep(max(_TICK_SECONDS, _SHARE * (loop.time() - began)))

    async def _value(self, name: str, part: Part) -> object:
        """A part's value; one that fails shows as such and does not take the others with it."""
        try:
            value = await part()
            self._failing.discard(name)
            return value
        except Exception:
            if name not in self._failing:  # once, not every second
                _log.exception("the part %s of the dashboard's picture", name)
            self._failing.add(name)
            return {"error": f"{name} cannot be shown: a fault of weft's own; its log has more"}


def _packed(event: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(value))


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_SLOW_SECONDS):
        await response.write(data)
