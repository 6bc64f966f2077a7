"""The keys of an OpenID provider: fetched within limits, kept through its outages for a day.

https only, or plain HTTP to a loopback address; no redirects; bounded in size and time. They are asked for again at
times, and when a token names a key that is not known, but then not more often than every half minute.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt

from weft.admin.people.oidc import ALGORITHMS, OidcRefusedError, OidcSettings, OidcSettingsError
from weft.aio.connector import Connector
from weft.model.origin import Origin
from weft.model.printable import printable
from weft.model.problem import Problem, Severity

_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_MOST_KEYS = 64
REFRESH_SECONDS = 600.0
SOONEST_SECONDS = 30.0
KEPT_SECONDS = 86400.0
_DISCOVERY = "/.well-known/openid-configuration"
_SMALLEST_RSA = 2048
_log = logging.getLogger("weft.oidc")


class FetchError(Exception):
    """What was asked for cannot be had; the message says why."""


def check_url(url: str, what: str) -> None:
    """OidcSettingsError unless nobody between can read or change what comes from `url`."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname and parts.username is None:
        return
    if parts.scheme == "http" and parts.username is None and _is_loopback(parts.hostname or ""):
        return
    raise OidcSettingsError(f"{what} {printable(url, 200)!r}: expected https://…, or http:// with a loopback address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ProviderKeys:
    """See the module. Fetches run one at a time; who asks meanwhile waits for the same one."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        check_url(settings.issuer, "the issuer")
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._error = ""
        self._fetching: asyncio.Task[None] | None = None

    def problems(self) -> tuple[Problem, ...]:
        """What keeps the keys from being fetched, once somebody needed them."""
        if not self._error:
            return ()
        kept = self._clock() - self._fetched <= KEPT_SECONDS
        then = "those fetched last are used, for a day" if kept else "its tokens are refused"
        text = f"the keys of {printable(self._settings.issuer, 200)} cannot be fetched, so {then}: {self._error}"
        expected = "an OpenID provider that answers"
        return (Problem(Severity.WARNING, "oidc-keys-missing", text, Origin("weft serve"), expected=expected),)

    async def key(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The key of this id that may sign so."""
        now = self._clock()
        stale = now - self._fetched > REFRESH_SECONDS
        under_way = self._fetching is not None and not self._fetching.done()
        if (stale or self._find(kid, algorithm) is None) and (under_way or now - self._tried >= SOONEST_SECONDS):
            await self._fetch_once()
        if self._clock() - self._fetched > KEPT_SECONDS:
            raise OidcRefusedError(f"the provider's keys cannot be had: {self._error or 'they are too old'}")
        found = self._find(kid, algorithm)
        if found is None:
            raise OidcRefusedError("it is signed with a key that the provider does not have")
        return found

    def _find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        if not kid:
            fitting = [one for one in self._keys.values() if _fits(one, algorithm)]
            return fitting[0] if len(fitting) == 1 else None
        found = self._keys.get(kid)
        return found if found is not None and _fits(found, algorithm) else None

    async def _fetch_once(self) -> None:
        if self._fetching is None or self._fetching.done():
            self._tried = self._clock()
            self._fetching = asyncio.ensure_future(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(2 * _SECONDS):
                keys = await self._ask()
        except (FetchError, OSError, aiohttp.ClientError, TimeoutError, OidcSettingsError, ValueError) as error:
            self._error = printable(str(error) or type(error).__name__, 200)
            _log.warning("the keys of %s cannot be fetched: %s", printable(self._settings.issuer, 200), self._error)
            return
        self._keys, self._fetched, self._error = keys, self._clock(), ""

    async def _ask(self) -> dict[str, jwt.PyJWK]:
        tls = ssl.create_default_context(cafile=self._settings.ca_file or None)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = Connector(ssl=tls)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as one:
            issuer = self._settings.issuer
            about = await _json(one, issuer.rstrip("/") + _DISCOVERY)
            if about.get("issuer") != issuer:
                raise FetchError("its discovery document names another issuer")
            url = str(about.get("jwks_uri", ""))
            check_url(url, "the provider's jwks_uri")
            return keys_of(await _json(one, url))


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response:
        if response.status != 200:
            raise FetchError(f"{url} answers with {response.status}; redirects are not followed")
        body = await response.content.read(_MOST_BYTES + 1)
        while not response.content.at_eof() and len(body) <= _MOST_BYTES:
            body += await response.content.read(_MOST_BYTES)
    if len(body) > _MOST_BYTES:
        raise FetchError(f"{url} sends more than {_MOST_BYTES} bytes")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{url} sends no JSON") from error
    if not isinstance(value, dict):
        raise FetchError(f"{url} sends no JSON object")
    return value


def keys_of(value: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The signing keys of a JWK set by their ids; what is no public key for one of our algorithms is left aside."""
    rows = value.get("keys")
    if not isinstance(rows, list):
        raise FetchError("there are no keys in it")
    found: dict[str, jwt.PyJWK] = {}
    for index, row in enumerate(rows[:_MOST_KEYS]):
        if not isinstance(row, dict) or row.get("use", "sig") != "sig" or row.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            key = jwt.PyJWK({name: one for name, one in row.items() if name not in ("d", "p", "q")})
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if key.algorithm_name in ALGORITHMS and getattr(key.key, "key_size", _SMALLEST_RSA) >= _least(row):
            found[str(row.get("kid") or f"(without id {index})")] = key
    if not found:
        raise FetchError("there is no key in it that we take")
    return found


def _least(row: dict[str, Any]) -> int:
    return _SMALLEST_RSA if row.get("kty") == "RSA" else 0


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """Whether a key may sign so: as it says itself, or, of an RSA key that says nothing, by any of RSA's."""
    if key.algorithm_name == algorithm:
        return True
    return bool(key.key_type == "RSA" and not key._jwk_data.get("alg") and algorithm[:2] in ("RS", "PS"))
