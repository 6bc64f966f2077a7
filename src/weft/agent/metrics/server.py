"""The server of the metrics: plain HTTP on loopback; off loopback TLS 1.3, for clients with a certificate of the mesh.
In a pod it is plain, and has pages beside the metrics: whoever asks there has no certificate.

It speaks just enough HTTP/1.1 for a scrape, because a whole HTTP library would be most of an agent's start (ADR 0013).
Everything is bounded: connections, bytes, time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from weft.agent.certificates import CertificateFiles
from weft.agent.metrics.own import own_peer
from weft.model.addresses import is_ip_address, is_loopback
from weft.model.identity import spiffe_id_from_text
from weft.model.workload import SocketAddress

_LOG = logging.getLogger(__name__)
DEFAULT_PORT = 15020
PATHS = ("/metrics", "/stats/prometheus")
_MAX_CONNECTIONS = 16
_MAX_HEAD = 16 * 1024
_SECONDS = 20.0
_HANDSHAKE_SECONDS = 5.0
_WORTH_PACKING = 1024
_FAST = 1
_TEXT = "text/plain; charset=utf-8"
Answer = Callable[[str], Awaitable[tuple[str, bytes]]]
"""From the Accept header to content type and body."""
Headers = Mapping[str, str]
"""By names in lower case."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status (``200 OK``) and text of a page."""

    status: str
    text: str


Page = Callable[[Headers], Awaitable[Reply]]
"""From the headers of a request to the reply."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What is answered in plain at an address that is not loopback: these pages by their paths, beside the metrics.
    `seconds` are those of the longest answer."""

    pages: Mapping[str, Page]
    seconds: float = 0.0


class RefusedRequest(Exception):  # noqa: N818 - an answer, not a failure of ours
    """The request gets this status and text."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


def bind(where: SocketAddress) -> socket.socket | None:
    """A socket bound there, or None when the port is taken. Held from the moment the port is chosen."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((where.host, where.port))
        bound.listen(_MAX_CONNECTIONS)
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    bound.setblocking(False)
    return bound


class MetricsServer:
    """Serves `answer` on a bound socket, and with `more` those pages, in plain. `run` is its one task."""

    def __init__(
        self, bound: socket.socket, files: CertificateFiles, answer: Answer, more: Pages | None = None
    ) -> None:
        self._socket = bound
        self._files = files
        self._answer = answer
        self._more = more or Pages({})
        self._plain = more is not None or is_loopback(bound.getsockname()[0])
        self._strangers: dict[asyncio.Task[None] | None, None] = {}
        self._connections = 0
        self._context: tuple[float, ssl.SSLContext] | None = None

    async def run(self) -> None:
        """For ever; the socket is closed when the task ends."""
        server = await asyncio.start_server(self._serve, sock=self._socket, limit=_MAX_HEAD)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= _MAX_CONNECTIONS and not self._make_room():
            writer.transport.abort()
            return
        self._connections += 1
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._strangers[task] = None
        try:
            async with asyncio.timeout(_SECONDS + self._more.seconds):
                await self._exchange(reader, writer)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _LOG.debug("a client of the metrics: %s", error)
            writer.transport.abort()
        except asyncio.CancelledError:  # to make room, or at the end
            writer.transport.abort()
            raise
        finally:
            self._connections -= 1
            self._strangers.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _make_room(self) -> bool:
        """Close the oldest connection on which nobody has asked as he should yet, so that who holds connections keeps
        Prometheus out for no longer than he takes to come again; whether there was one."""
        oldest = next(iter(self._strangers), None)
        if oldest is None:
            return False
        del self._strangers[oldest]
        oldest.cancel()
        return True

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trust_domain = ""
        if not self._plain:
            context, trust_domain = self._tls()
            await writer.start_tls(context, ssl_handshake_timeout=_HANDSHAKE_SECONDS)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        try:
            if not self._plain:
                _check_client(writer, trust_domain)
            path, headers = _checked(head, self._more.pages, plain=self._plain)
            self._strangers.pop(asyncio.current_task(), None)
            status, kind, body = await self._reply(path, headers)
        except RefusedRequest as refused:
            headers = {}
            status, kind, body = refused.status, _TEXT, f"weft: {refused}\n".encode()
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", "X-Content-Type-Options: nosniff"]
        if "gzip" in headers.get("accept-encoding", "") and len(body) > _WORTH_PACKING:
            body = gzip.compress(body, _FAST)
            lines.append("Content-Encoding: gzip")
        writer.write(("\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))).encode())
        if not head[0].startswith("HEAD "):
            writer.write(body)
        await writer.drain()

    async def _reply(self, path: str, headers: Headers) -> tuple[str, str, bytes]:
        """Status, content type and body."""
        if page := self._more.pages.get(path):
            reply = await page(headers)
            return reply.status, _TEXT, f"{reply.text}\n".encode()
        return "200 OK", *await self._answer(headers.get("accept", ""))

    def _tls(self) -> tuple[ssl.SSLContext, str]:
        """The context of the certificate that is in place now, and its trust domain."""
        written = self._files.chain.stat().st_mtime
        if self._context is None or self._context[0] != written:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(self._files.chain, self._files.key)
            context.load_verify_locations(self._files.bundle)
            self._context = (written, context)
        own = spiffe_id_from_text(own_peer(self._files.chain)[0].principal)
        return self._context[1], own.trust_domain if own else ""


def _check_client(writer: asyncio.StreamWriter, trust_domain: str) -> None:
    """The hand-shake has verified the client's certificate against the mesh's root; it must name a workload of the
    mesh."""
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate: Mapping[str, object] = tls.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"] if isinstance(names, tuple) else []
    identity = spiffe_id_from_text(uris[0]) if len(uris) == 1 else None
    if identity is None or identity.trust_domain != trust_domain:
        raise RefusedRequest("403 Forbidden", "show a certificate of this mesh")


def _checked(head: list[str], pages: Mapping[str, Page], *, plain: bool) -> tuple[str, dict[str, str]]:
    """Path and headers of a proper request for the metrics, or one of the `pages`."""
    words = head[0].split(" ")
    if len(words) != 3:
        raise RefusedRequest("400 Bad Request", "this is no HTTP request")
    method, path, _ = words
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if plain and not _is_local(headers.get("host", "")):
        raise RefusedRequest("421 Misdirected Request", "ask by an IP address or localhost")
    path = path.partition("?")[0]
    if path not in PATHS and path not in pages:
        raise RefusedRequest("404 Not Found", f"the metrics are at {' and '.join(PATHS)}")
    if method not in ("GET", "HEAD"):
        raise RefusedRequest("405 Method Not Allowed", "GET only")
    return path, headers


def _is_local(host: str) -> bool:
    """Whether a Host names this host by itself: a page of a browser whose name was pointed here says its own name."""
    name = host.rpartition(":")[0] if not host.endswith("]") and host.count(":") != 0 else host
    return name == "localhost" or is_ip_address(name.strip("[]"))
