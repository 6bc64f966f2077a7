"""A registry with an HTTP API of blocking queries, as Consul and Nomad have it: one for its list, one for each service.

A blocking query names the index of the last answer and is answered when there is a newer one, or after a while. An
index that goes back (a server that was restored) or is none begins anew. https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from weft.aio.fetch import FetchError, FetchLimits, Network, fetch
from weft.settings.private import PermissionsError, check_private
from weft.sources.imports.catalogue import MOST_SERVICES, ImportedService, ImportReadError, Instance, Publish
from weft.sources.imports.networks import EVERYWHERE
from weft.sources.imports.settings import ImportSettings

WAIT_SECONDS = 60
"""How long a server may keep a query waiting; it adds up to a sixteenth."""
MOST_BLOCKING = 100
"""Services that are waited for at once: servers bound the connections of one client (Consul: 200). Others are asked
for every `poll` seconds."""
MOST_BYTES = 4 * 1024 * 1024
"""Of one answer."""
_ANSWER_SECONDS = 10.0
_SPREAD_SECONDS = 0.01
"""Between two queries that are answered at once, so that a start does not ask for all services in one moment."""
_PAUSE_SECONDS = 0.1
"""Between an answer and the next query, so that a busy service costs no more than ten answers a second."""


class Dialect(Protocol):
    """What one kind of server calls things."""

    index_header: str
    token_header: str

    def usual(self, settings: ImportSettings) -> Mapping[str, str]:
        """The parameters of every query."""

    def list_path(self) -> str:
        """The path of the list of services."""

    def service_path(self, name: str) -> str:
        """The path, with parameters of its own, of a service's instances."""

    def names(self, answer: Any, settings: ImportSettings) -> set[str]:
        """The names of services that are to be imported. ImportReadError if it is no list."""

    def service(self, name: str, answer: Any, settings: ImportSettings) -> ImportedService:
        """A service. ImportReadError if the answer is none."""

    def check(self, headers: Mapping[str, str]) -> None:
        """ImportReadError if an answer must not be believed."""


class BlockingRegistry:
    """Follows one server."""

    def __init__(self, settings: ImportSettings, dialect: Dialect, wait: int = WAIT_SECONDS) -> None:
        self._settings = settings
        self._dialect = dialect
        self._wait = wait
        self._found: dict[str, ImportedService | None] = {}
        self._next = 0.0

    async def follow(self, publish: Publish) -> None:
        """See `Registry`."""
        self._found = {}
        try:
            async with asyncio.TaskGroup() as group:
                await self._list(group, publish)
        except ExceptionGroup as errors:
            first = errors
            while isinstance(first.exceptions[0], ExceptionGroup):
                first = first.exceptions[0]
            if isinstance(first.exceptions[0], ImportReadError):
                raise first.exceptions[0] from None
            raise

    async def _list(self, group: asyncio.TaskGroup, publish: Publish) -> None:
        tasks: dict[str, asyncio.Task[None]] = {}
        index = 0
        while True:
            answer, index = await self._ask(self._dialect.list_path(), index)
            names = sorted(self._dialect.names(answer, self._settings))
            if len(names) > MOST_SERVICES:
                text = f"it has {len(names)} services, more than the {MOST_SERVICES} of an import"
                raise ImportReadError(f"{text}; say which with services=")
            for name in tasks.keys() - set(names):
                tasks.pop(name).cancel()
                self._found.pop(name, None)
            for name in names:
                if name not in tasks:
                    self._found[name] = None
                    blocking = len(tasks) < MOST_BLOCKING
                    tasks[name] = group.create_task(self._service(name, publish, blocking=blocking))
            self._tell(publish)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _service(self, name: str, publish: Publish, *, blocking: bool) -> None:
        index = 0
        while True:
            answer, found = await self._ask(self._dialect.service_path(name), index)
            index = found if blocking else 0
            service = self._dialect.service(name, answer, self._settings)
            if self._found.get(name) != service:
                self._found[name] = service
                self._tell(publish)
            await asyncio.sleep(_PAUSE_SECONDS if blocking else self._settings.poll * random.uniform(0.9, 1.1))  # noqa: S311

    def _tell(self, publish: Publish) -> None:
        """Say the catalogue once all of it is known."""
        services = tuple([found for _, found in sorted(self._found.items()) if found is not None])
        if len(services) == len(self._found):
            publish(services)

    async def _ask(self, path: str, index: int) -> tuple[Any, int]:
        """An answer and its index, when it is newer than `index` (0: at once)."""
        if not index:
            now = time.monotonic()
            self._next = max(now, self._next) + _SPREAD_SECONDS
            await asyncio.sleep(self._next - now)
        return await self._fetch(path, index)

    async def _fetch(self, path: str, index: int) -> tuple[Any, int]:
        settings, dialect = self._settings, self._dialect
        query = {**dialect.usual(settings), **({"index": str(index), "wait": f"{self._wait}s"} if index else {})}
        url = f"{settings.address}{path}{'&' if '?' in path else '?'}{urlencode(query)}"
        seconds = _ANSWER_SECONDS + (self._wait * 17 / 16 if index else 0)
        networks: tuple[Network, ...] = EVERYWHERE
        limits = FetchLimits(MOST_BYTES, seconds)
        try:
            headers, tls = await asyncio.to_thread(self._proof)
            answer = await fetch(url, networks, limits=limits, tls=tls, headers=headers)
        except (FetchError, PermissionsError, OSError) as error:
            raise ImportReadError(_hint(str(error), settings)) from error
        dialect.check(answer.headers)
        try:
            found = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ImportReadError("its answer is no JSON") from error
        said = answer.headers.get(dialect.index_header, "")
        now = int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 0
        return found, now if now >= index else 0

    def _proof(self) -> tuple[dict[str, str], ssl.SSLContext | None]:
        """What is shown, read again for every query, so that another program may renew it there. Blocks."""
        settings, headers = self._settings, {}
        if settings.token_file is not None:
            headers[self._dialect.token_header] = read_token_file(settings.token_file)
        if settings.ca_file is None and settings.certificate is None:
            return headers, None
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
        return headers, context


def read_token_file(path: Path) -> str:
    """The token of a file that is its owner's alone. PermissionsError, ImportReadError or OSError otherwise."""
    check_private(path)
    token = path.read_text(errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or len(token) > 4096:
        raise ImportReadError(f"{path} holds no token of one line")
    return token


def _hint(text: str, settings: ImportSettings) -> str:
    if text.endswith(("401", "403")):
        shown = f"the token of {settings.token_file} is not enough" if settings.token_file else "give a token_file"
        return f"{text}: {shown}"
    return text


def sorted_instances(instances: list[Instance], name: str) -> tuple[Instance, ...]:
    """Instances in order; ImportReadError if two have one id."""
    found = tuple(sorted(instances))
    if len({each.id for each in found}) != len(found):
        raise ImportReadError(f"two instances of '{name[:80]}' have one id")
    return found
