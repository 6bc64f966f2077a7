"""How this control plane injects, for `weft inject`: image, address, fingerprint. Nothing of it is secret."""

from __future__ import annotations

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, reply
from weft.admin.routing import Route


class Injection:
    """Handlers of ``/v1/injection``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (Route("GET", "/v1/injection", self.settings, "How sidecars are put into pods"),)

    async def settings(self, _request: web.Request) -> web.Response:
        """``GET /v1/injection``."""
        settings = self._context.injection()
        if settings is None:
            raise Refused(404, "no-injection", "this control plane injects nothing: it has no --sidecar-image")
        return reply(settings)
