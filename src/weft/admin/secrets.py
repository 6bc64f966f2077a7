"""The store's secrets through the admin API: how they are kept, and a new key for them. Never a value."""

from __future__ import annotations

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.people.calling import who_calls
from weft.admin.replies import Refused, instant, reply
from weft.admin.routing import Route
from weft.store.sealing.sealed import SealedStore, SecretsStatus


class Secrets:
    """Handlers of ``/v1/secrets``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (
            Route("GET", "/v1/secrets", self.status, "How the store's secrets are kept"),
            Route("POST", "/v1/secrets/rotation", self.rotate, "Seal the store's secrets with a new key"),
            Route("POST", "/v1/secrets/loss", self.lose, "Give up a key that is lost, and begin with a new one"),
        )

    async def status(self, _request: web.Request) -> web.Response:
        """``GET /v1/secrets``."""
        return reply(_shown(await self._store().status()))

    async def rotate(self, request: web.Request) -> web.Response:
        """``POST /v1/secrets/rotation``."""
        store = self._store()
        before = await store.status()
        detail = f"data key {before.key} before; {before.sealed} values"
        done = self._context.audit.done(who_calls(request), "rotate store key", object=before.wrapper, detail=detail)
        return reply(_shown(await store.rotate([done])))

    async def lose(self, request: web.Request) -> web.Response:
        """``POST /v1/secrets/loss``."""
        store = self._store()
        error = (await store.status()).error
        if not error:
            raise Refused(409, "key-not-lost", "the store's key is here: there is nothing to give up")
        done = self._context.audit.done(who_calls(request), "give up store key", detail=f"before: {error}")
        return reply(_shown(await store.begin_anew([done])))

    def _store(self) -> SealedStore:
        if self._context.secrets is None:
            raise Refused(409, "not-sealed", "this control plane's store is in memory: nothing of it is kept")
        return self._context.secrets


def _shown(status: SecretsStatus) -> dict[str, object]:
    return {
        "wrapper": status.wrapper,
        "key": status.key or None,
        "since": instant(status.since) if status.since else None,
        "sealed": status.sealed,
        "older": status.older,
        "clear": status.clear,
        "unreadable": status.unreadable,
        "unreadable_keys": list(status.unreadable_keys),
        "error": status.error or None,
    }
