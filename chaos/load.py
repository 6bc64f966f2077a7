"""The load: whole pages through the gateway, and single calls as the page makes them, at a steady rate.

The page hides its callees' failures in a 200, and tries reviews twice; so a page is looked through, and every callee is
called by itself as well, through the proxy of a caller that has no application.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from chaos.journal import Failure, Journal

PATIENCE = 30.0
"""Seconds for one request. Slowness is no failure here: the machine may be busy with other things."""
_AT_ONCE = 20
"""Requests that are made up for when the generator was late."""
_REVIEWS = re.compile(r'<section id="reviews" data-version="(v\d)">')


@dataclass(frozen=True)
class Target:
    """What is asked for: a name for people, the URL, the proxy it goes through (or None), and what is wrong with a body
    (empty if nothing is)."""

    name: str
    url: str
    proxy: str | None
    fault: Callable[[str], str]


def page_fault(text: str) -> str:
    """What a product page lacks; empty if it is whole."""
    if '<section id="details">' not in text or "<dd>123-1234567890</dd>" not in text:
        return "without details"
    version = page_version(text)
    if not version:
        return "without reviews"
    if text.count("<blockquote>") != 2:
        return f"with {text.count('<blockquote>')} reviews of 2"
    found, wanted = text.count('<p class="stars '), 0 if version == "v1" else 2
    if found != wanted:
        return f"reviews {version} with {found} ratings of {wanted}"
    return 'with class="error"' if 'class="error"' in text else ""


def page_version(text: str) -> str:
    """Which version of reviews a page comes from; empty if there is none."""
    found = _REVIEWS.search(text)
    return found.group(1) if found else ""


def details_fault(text: str) -> str:
    """What an answer of details lacks."""
    return "" if json.loads(text).get("author") else f"without author: {text}"


def reviews_fault(text: str) -> str:
    """What an answer of reviews lacks."""
    reviews = json.loads(text)["reviews"]
    whole = len(reviews) == 2 and not any("error" in review.get("rating", {}) for review in reviews)
    return "" if whole else f"not whole: {text}"


def ratings_fault(text: str) -> str:
    """What an answer of ratings lacks."""
    return "" if len(json.loads(text)["ratings"]) == 2 else f"not whole: {text}"


async def run_load(
    targets: tuple[Target, ...],
    rate: float,
    journal: Journal,
    during: Awaitable[None],
    failed: Callable[[Failure], Awaitable[None]],
) -> None:
    """Send `rate` requests a second, open loop, to the targets in turn, until `during` is done. `failed` is called for
    each that fails."""
    turns = itertools.cycle(targets)
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        work = asyncio.ensure_future(during)
        begun, paced = time.monotonic(), 0
        try:
            while not work.done():
                due = int((time.monotonic() - begun) * rate)
                for _ in range(min(due - paced, _AT_ONCE)):
                    group.create_task(_one(session, next(turns), journal, failed))
                paced = due
                await asyncio.sleep(1 / rate / 2)
            await work
        finally:
            work.cancel()


async def _one(
    session: aiohttp.ClientSession, target: Target, journal: Journal, failed: Callable[[Failure], Awaitable[None]]
) -> None:
    sent = time.time()
    try:
        async with session.get(target.url, proxy=target.proxy) as answer:
            text = await answer.text()
            journal.answers[str(answer.status)] += 1
            wrong = target.fault(text) if answer.status == 200 else f"{answer.status} {dict(answer.headers)} {text}"
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError) as error:
        journal.answers["error"] += 1
        wrong = repr(error)
    now = time.time()
    journal.slowest = max(journal.slowest, now - sent)
    if wrong:
        failure = Failure(sent, now, target.name, wrong)
        journal.failures.append(failure)
        await failed(failure)
