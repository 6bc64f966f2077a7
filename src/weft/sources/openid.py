"""OpenID providers that policies name: what each says of its endpoints, read within limits and kept through outages.

https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from weft.aio.cell import Cell
from weft.aio.fetch import FetchError, FetchLimits, Network, fetch
from weft.model.document import Document
from weft.model.openid import OpenIdEndpoints
from weft.model.printable import printable
from weft.model.problem import Problem, Severity
from weft.schema.forms import FormError, read_https_url
from weft.schema.kinds.oidcpolicy import OidcPolicySpec
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.keysets import allowed_networks
from weft.store.protocol import Delete, Put, Store, StoreError

BUCKET = "openid"
WELL_KNOWN = "/.well-known/openid-configuration"
MOST_PROVIDERS = 100
"""That are asked; more are told as a Problem."""
_AGAIN_SECONDS = 3600.0
_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 300.0
_LIMITS = FetchLimits(size=64 * 1024, seconds=5.0)


class OpenIdSource:
    """A source without documents: `contents` are the endpoints of the providers that the documents of `collected` name.
    What was read last stays in force, also over a restart, until a newer answer takes its place."""

    def __init__(self, store: Store, collected: Callable[[], Cell[Collected]]) -> None:
        self._store = store
        self._collected = collected
        self._networks: tuple[Network, ...] = ()
        self._contents: Cell[Contents | None] = Cell(None)
        self._known: dict[str, OpenIdEndpoints] = {}
        self._problems: dict[str, str] = {}
        self._asked: tuple[str, ...] = ()
        self._due: dict[str, float] = {}
        self._waits: dict[str, float] = {}

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Read what is due, for ever."""
        await self._load()
        self._publish(())
        version = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):
                    version = await self._collected().changed(version)
            snapshot = self._collected().value.snapshot
            networks, wanted = allowed_networks(snapshot), _wanted(snapshot.documents)
            if networks != self._networks:  # what was refused may be asked now
                self._networks = networks
                self._due = {issuer: due for issuer, due in self._due.items() if issuer not in self._problems}
            await self._forget(wanted)
            self._asked = tuple(wanted)[:MOST_PROVIDERS]
            for issuer in self._asked:
                if self._due.get(issuer, 0.0) <= time.monotonic():
                    await self._read(issuer)
            self._publish(wanted.values())

    def _wait(self) -> float:
        """Until the next of those that are asked is due."""
        now = time.monotonic()
        return max(0.0, min((self._due.get(each, now) for each in self._asked), default=now + _AGAIN_SECONDS) - now)

    async def _load(self) -> None:
        with contextlib.suppress(StoreError):
            _, entries = await self._store.list(BUCKET)
            for entry in entries:
                with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                    found = msgspec.json.decode(entry.value, type=OpenIdEndpoints)
                    self._known[found.issuer] = found

    async def _forget(self, wanted: Iterable[str]) -> None:
        gone = [issuer for issuer in {*self._due, *self._known} if issuer not in wanted]
        for issuer in gone:
            for kept in (self._due, self._waits, self._problems, self._known):
                kept.pop(issuer, None)
        with contextlib.suppress(StoreError):
            if gone:
                await self._store.write([Delete(BUCKET, issuer) for issuer in gone])

    async def _read(self, issuer: str) -> None:
        try:
            url = issuer.removesuffix("/") + WELL_KNOWN
            found = read_endpoints(issuer, (await fetch(url, self._networks, limits=_LIMITS)).body)
        except FetchError as error:
            self._problems[issuer] = str(error)
            self._waits[issuer] = min(self._waits.get(issuer, _RETRY_SECONDS / 2) * 2, _LONGEST_RETRY_SECONDS)
            self._due[issuer] = time.monotonic() + self._waits[issuer]
            return
        self._problems.pop(issuer, None)
        self._waits.pop(issuer, None)
        self._due[issuer] = time.monotonic() + _AGAIN_SECONDS
        if self._known.get(issuer) != found:
            self._known[issuer] = found
            with contextlib.suppress(StoreError):  # read again after a restart, then
                await self._store.write([Put(BUCKET, issuer, msgspec.json.encode(found))])

    def _publish(self, wanted: Iterable[Document[OidcPolicySpec]]) -> None:
        documents = list(wanted)
        problems = [_problem(each, self._problems, self._known) for each in documents[:MOST_PROVIDERS]]
        problems += [_too_many(each) for each in documents[MOST_PROVIDERS:]]
        endpoints = tuple(sorted(self._known.values(), key=lambda each: each.issuer))
        contents = Contents(problems=tuple([each for each in problems if each is not None]), endpoints=endpoints)
        if contents != self._contents.value:
            self._contents.set(contents)


def read_endpoints(issuer: str, body: bytes) -> OpenIdEndpoints:
    """What the provider `issuer` says of itself. FetchError if that is no such document, or one of somebody else."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FetchError("its answer is no JSON") from error
    if not isinstance(said, dict):
        raise FetchError("its answer is no JSON object")
    if said.get("issuer") != issuer:
        found = printable(str(said.get("issuer"))[:80])
        raise FetchError(f"it says that it is '{found}': the issuer has to be written as the provider writes it")
    end = said.get("end_session_endpoint")
    return OpenIdEndpoints(
        issuer,
        _url(said, "authorization_endpoint"),
        _url(said, "token_endpoint"),
        _url(said, "end_session_endpoint") if end is not None else "",
    )


def _url(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    try:
        if isinstance(value, str):
            return read_https_url(value)
    except FormError:
        pass
    raise FetchError(f"its {name} is no URL with https, or with http on loopback")


def _wanted(documents: Iterable[Document[object]]) -> dict[str, Document[OidcPolicySpec]]:
    """The first document that wants each issuer asked, in the order of the documents."""
    found: dict[str, Document[OidcPolicySpec]] = {}
    for document in documents:
        spec = document.spec
        if isinstance(spec, OidcPolicySpec) and spec.provider.authorization_endpoint is None:
            found.setdefault(spec.provider.issuer, document)  # type: ignore[arg-type]
    return found


def _problem(
    document: Document[OidcPolicySpec], problems: dict[str, str], known: dict[str, OpenIdEndpoints]
) -> Problem | None:
    issuer = document.spec.provider.issuer
    why = problems.get(issuer)
    if why is None:
        return None
    kept = "what it said before stays in force" if issuer in known else "nobody is let in"
    message = f"{printable(issuer)}{WELL_KNOWN} cannot be read: {why}; {kept}"
    return _told(document, message, Severity.WARNING if issuer in known else Severity.ERROR)


def _too_many(document: Document[OidcPolicySpec]) -> Problem:
    return _told(
        document, f"more than {MOST_PROVIDERS} OpenID providers are named; this one is not asked", Severity.ERROR
    )


def _told(document: Document[OidcPolicySpec], message: str, severity: Severity) -> Problem:
    path = ("spec", "provider", "issuer")
    expected = "a provider that answers, or its endpoints in the policy"
    return Problem(severity, "provider-unread", message, document.at(*path), document.key, path, expected)
