"""A document fetched from an address that somebody else wrote down, within limits: where to, how large, how long.

The address comes from a document, and who may write one must not make the control plane ask, on its own network, what
the writer cannot ask: so names are resolved first, the addresses are checked, and the connection is made to an address
that was checked. There are no redirects.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from weft.aio.connector import Connector

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name and port."""
_LONGEST_URL = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_TUNNELS = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32", "64:ff9b:1::/48")))
"""Addresses that hold another one, which is somewhere else: 6to4, Teredo, local NAT64."""
_MAX_AGE = re.compile(r"max-age=(\d{1,9})", re.IGNORECASE)


class FetchError(Exception):
    """Nothing was fetched; the message says why. What the server wrote is not in it."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """`size` in bytes; `seconds` for all of it, from the name's resolution to the last byte."""

    size: int = 256 * 1024
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """`max_age` is how long the server says it is good, in seconds. None: it says nothing; 0: it must not be kept.
    `headers` are those of the answer, with names in lower case."""

    body: bytes
    max_age: float | None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, by the host's own resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def fetch(
    url: str,
    networks: Sequence[Network] = (),
    *,
    limits: FetchLimits = FetchLimits(),
    tls: ssl.SSLContext | None = None,
    resolve: Resolve = resolve,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """What stands at `url`: https, from a public address or one of `networks`; http from a loopback one of `networks`
    only. `tls` says whom to trust (None: the system's roots), `headers` is what is sent besides. Raises FetchError."""
    parts = split_url(url)
    checked = _Checked(networks, resolve, plain=parts.scheme == "http")
    if (literal := _literal(parts.hostname or "")) is not None:  # aiohttp asks no resolver then
        checked.permit([literal])
    timeout = aiohttp.ClientTimeout(total=limits.seconds)
    connector = Connector(resolver=checked, use_dns_cache=False, ssl=tls or True, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.get(
                url, allow_redirects=False, headers={**(headers or {}), "Accept-Encoding": "identity"}
            ) as response,
        ):
            return await _read(response, limits)
    except TimeoutError as error:
        raise FetchError(f"there was no whole answer within {limits.seconds:g} s") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise FetchError(f"the name '{parts.hostname}' cannot be resolved") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise FetchError("its certificate is not one that the control plane trusts for this name") from error
    except aiohttp.ClientConnectorError as error:
        raise FetchError("it does not answer: no connection can be made") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(f"it does not answer as a web server does ({type(error).__name__})") from error


def split_url(url: str) -> SplitResult:
    """The parts of a URL that may be fetched as far as its text tells. Raises FetchError."""
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise FetchError("it is no URL of printable ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError("it is no URL") from error
    if parts.scheme not in ("https", "http"):
        raise FetchError(f"its scheme is '{parts.scheme[:20]}', not https")
    if not parts.hostname or port == 0:
        raise FetchError("it names no host")
    if parts.username is not None or parts.password is not None:
        raise FetchError("it has a user in it")
    return parts


def refusal(address: Address, networks: Sequence[Network], *, plain: bool) -> str:
    """Why nothing is fetched from an address; empty if it may be. `plain`: over http."""
    real = _real(address)
    if real is None:
        return f"{address} is an address inside of a tunnel"
    reserved = real.is_reserved and not real.is_loopback
    if real.is_link_local or real.is_multicast or real.is_unspecified or reserved:
        return f"{address} is an address that is never asked (link-local, multicast or reserved)"
    stated = any(real in network for network in networks if network.version == real.version)
    if plain and not (real.is_loopback and stated):
        return "http is for loopback addresses only, where the mesh allows them"
    if not real.is_global and not stated:
        return f"{address} is not a public address, and the mesh does not allow its network"
    return ""


def _real(address: Address) -> Address | None:
    """The address that is reached; None if only others know which."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.scope_id is not None:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None if any(address in tunnel for tunnel in _TUNNELS) else address


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


class _Checked(AbstractResolver):
    """Gives aiohttp the addresses of a name that may be asked, and no others."""

    def __init__(self, networks: Sequence[Network], resolve: Resolve, *, plain: bool) -> None:
        self._networks = networks
        self._resolve = resolve
        self._plain = plain

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002  (whatever the name has)
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.permit(await self._resolve(host, port))
        ]

    def permit(self, found: Sequence[str]) -> list[Address]:
        """Those that may be asked. FetchError if there is none."""
        addresses = list(dict.fromkeys(map(ipaddress.ip_address, found)))
        refusals = [refusal(address, self._networks, plain=self._plain) for address in addresses]
        permitted = [address for address, why in zip(addresses, refusals, strict=True) if not why]
        if not permitted:
            raise FetchError(next(iter(refusals), "its name has no address"))
        return permitted

    async def close(self) -> None:
        pass


async def _read(response: aiohttp.ClientResponse, limits: FetchLimits) -> Fetched:
    if 300 <= response.status < 400:
        raise FetchError(f"it answers {response.status}, a redirect, and those are not followed")
    if response.status != 200:
        raise FetchError(f"it answers {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("its answer is compressed, which nobody asked for")
    body = bytearray()
    async for part in response.content.iter_chunked(16 * 1024):
        body += part
        if len(body) > limits.size:
            raise FetchError(f"its answer is larger than {limits.size // 1024} KiB")
    told = {name.lower(): value for name, value in response.headers.items()}
    return Fetched(bytes(body), _max_age(response.headers.getall("Cache-Control", [])), told)


def _max_age(said: Sequence[str]) -> float | None:
    words = ",".join(said).lower()
    if "no-store" in words or "no-cache" in words:
        return 0.0
    found = _MAX_AGE.search(words)
    return float(found[1]) if found else None
