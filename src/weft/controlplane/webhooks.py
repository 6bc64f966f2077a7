"""The webhook server: what an API server asks before it makes objects, each path with the one who judges there.

Whatever comes in, the answer is an AdmissionReview, or an HTTP error for what is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from aiohttp import web

from weft.admin.replies import Refused, reply
from weft.admin.server import ServerLimits, mark_authenticated, new_application, serving
from weft.controlplane.ports import Ports
from weft.controlplane.settings import ServeSettings
from weft.inject.review import ReviewError, ReviewRequest, Verdict, answer_to, review_from_json
from weft.settings.endpoints import DEFAULT_WEBHOOK_PORT
from weft.telemetry.metrics import Counter, Registry

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes. A review has the object twice at most, and an object of etcd at most 1.5 MiB."""
WEBHOOK_LIMITS = ServerLimits(connections=256, silence=10.0, of_address=96)
"""Whoever has never sent an AdmissionReview goes first, then who has most. An API server has a connection for each
question that is under way."""
_BODY_SECONDS = 5.0
_VERDICT_SECONDS = 8.0
"""Less than the ten seconds that an API server waits."""
_log = logging.getLogger("weft.webhooks")


class Reviewer(Protocol):
    """Judges what comes to one path, within its context."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def review(self, request: ReviewRequest) -> Verdict:
        """Whether it may be, and how it is changed."""


def webhook_application(reviewers: Mapping[str, Reviewer], registry: Registry) -> web.Application:
    """The paths of `reviewers`, such as ``/inject``."""
    application = new_application(body_limit=BODY_LIMIT)
    counted = registry.counter("weft_webhook_reviews_total", "What webhooks answered.", "path", "answer")
    for path, reviewer in reviewers.items():
        application.router.add_post(path, _handler(path, reviewer, counted))
    return application


async def bind_webhooks(ports: Ports, settings: ServeSettings) -> socket.socket | None:
    """The socket of the server, if there is to be one."""
    wanted = settings.webhooks
    if wanted is None or not wanted.serves:
        return None
    usual = ("webhooks", settings.bind, wanted.port, DEFAULT_WEBHOOK_PORT, "--webhook-port")
    return await ports.bind(*usual, looked_up=True)


@contextlib.asynccontextmanager
async def serving_webhooks(
    reviewers: Mapping[str, Reviewer], registry: Registry, listener: socket.socket | None, tls: ssl.SSLContext
) -> AsyncIterator[None]:
    """Serve, if there is a socket for it."""
    if listener is None:
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        for reviewer in reviewers.values():
            await stack.enter_async_context(reviewer)
        await stack.enter_async_context(
            serving(webhook_application(reviewers, registry), listener, tls, WEBHOOK_LIMITS)
        )
        yield


class _Handler(Protocol):
    async def __call__(self, request: web.Request) -> web.StreamResponse: ...


def _handler(path: str, reviewer: Reviewer, counted: Counter) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
        try:
            asked = review_from_json(body)
        except ReviewError as error:
            counted.add(path, "malformed")
            raise Refused(400, "bad-review", str(error)) from error
        mark_authenticated(request)  # as far as anybody proves anything here
        verdict, answer = await _verdict(reviewer, asked)
        counted.add(path, answer)
        return reply(answer_to(asked, verdict))

    return handle


async def _verdict(reviewer: Reviewer, asked: ReviewRequest) -> tuple[Verdict, str]:
    """The verdict, and what it is counted as. A fault of ours refuses: what would be made is not what it should be."""
    try:
        async with asyncio.timeout(_VERDICT_SECONDS):
            verdict = await reviewer.review(asked)
    except TimeoutError:
        return Verdict(False, "weft did not come to a verdict in time; try again", 504), "timeout"
    except Exception:
        _log.exception("a review of %s %s/%s failed", asked.kind.kind, asked.namespace, asked.name)
        return Verdict(False, "weft failed to judge this object; its log says why", 500), "fault"
    return verdict, "patched" if verdict.patch else "allowed" if verdict.allowed else "refused"
