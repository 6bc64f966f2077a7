"""The dashboard, put together: sessions, page and live stream, and how they join the admin API's application."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from aiohttp import web

from weft.admin.dashboard.live import Live, Part
from weft.admin.dashboard.page import Page, Record, unrecorded
from weft.admin.dashboard.sessions import Sessions
from weft.admin.people.access import Principal
from weft.admin.routing import Route


class Dashboard:
    """`parts` make the live picture, `clock` tells seconds since the epoch, `record` keeps what sessions did."""

    def __init__(
        self, parts: Mapping[str, Part], clock: Callable[[], float] = time.time, record: Record = unrecorded
    ) -> None:
        self.sessions = Sessions(time.monotonic)
        self._page = Page(self.sessions, clock, record)
        self._live = Live(parts)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (*self._page.routes(), *self._live.routes())

    def is_public(self, path: str) -> bool:
        """Whether a path of the page needs no proof of who asks."""
        return self._page.is_public(path)

    def admits(self, knows: Callable[[Principal], bool]) -> None:
        """Who is told what goes on: only as long as `knows` says so."""
        self._live.knows = knows

    def add_to(self, application: web.Application) -> None:
        """Serve the page beside the API, and make pictures while the server runs."""
        self._page.add_to(application)
        application.cleanup_ctx.append(self._live.running)
