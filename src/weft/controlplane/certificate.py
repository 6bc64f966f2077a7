"""The control plane's own certificate: kept fresh, and put into the agent API's TLS context."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from weft.aio.cell import Cell
from weft.ca.authority import BACKDATED, Authority, ServerCertificate

_log = logging.getLogger("weft.certificate")


class ServerCertificates:
    """The current server certificate. Its task is the only writer of `current`."""

    def __init__(
        self,
        authority: Authority,
        hosts: Sequence[str],
        directory: Path,
        ttl: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clients: Callable[[], str] = str,
    ) -> None:
        self._authority = authority
        self._clients = clients
        self._hosts = tuple(hosts)
        self._directory = directory
        self._ttl = ttl
        self._clock = clock
        self._sleep = sleep
        self.current: Cell[ServerCertificate] = Cell(self._new())
        self.tls = CurrentContext()
        self._load(self.current.value)

    async def run(self) -> None:
        """Renew at half of each certificate's life, for ever; new hand-shakes use the new one."""
        while True:
            half = self.renewal
            await self._sleep(min(max(half - self._clock(), 1.0), 3600.0))
            if self._clock() < half:
                continue
            try:
                self.renew()
            except OSError as error:  # a full disk; half of the certificate's life is left
                _log.warning("cannot renew the control plane's certificate, trying again: %s", error)
                await self._sleep(self._ttl / 10)
                continue
            _log.info("renewed the control plane's certificate")

    def renew(self) -> None:
        """Make it anew, and trust what the authority trusts now; OSError leaves all as it is."""
        fresh = self._new()
        self._load(fresh)
        self.current.set(fresh)

    @property
    def renewal(self) -> float:
        """When to renew: at half of its life from when it was made. It is valid a while before, for slow clocks."""
        current = self.current.value
        return (current.not_before + BACKDATED + current.not_after) / 2

    def _new(self) -> ServerCertificate:
        return self._authority.server_certificate(self._hosts, self._ttl)

    def _load(self, certificate: ServerCertificate) -> None:
        context = _server_context(certificate.bundle, self._clients())
        self.show(context, certificate)
        self.tls.use(context)

    def show(self, context: ssl.SSLContext, certificate: ServerCertificate) -> None:
        """Have a context show the certificate. OSError. `ssl` reads files only: the key is in one, 0600 in the private
        directory, for as long as that takes."""
        path = self._directory / f".server.pem.new-{secrets.token_hex(4)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(certificate.key + certificate.chain + certificate.bundle)
            context.load_cert_chain(path)
        finally:
            path.unlink()


class CurrentContext(ssl.SSLContext):
    """Stands for the context that was given last: each new connection takes that one. A context itself can be given
    another certificate and further roots, but none can be taken out of it."""

    def __new__(cls) -> CurrentContext:
        """An empty one; `use` comes before the first connection."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def use(self, context: ssl.SSLContext) -> None:
        """Connections from now on are made with it."""
        self._context = context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """What a server does with each connection."""
        return self._context.wrap_bio(*arguments, **options)


def _server_context(bundle: str, clients: str) -> ssl.SSLContext:
    """TLS 1.3 only; a client certificate is optional, but one that is shown must be of this mesh, or of an authority of
    `clients` (PEM), which may be a part of another's. No resumption: every connection proves itself anew."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.load_verify_locations(cadata=bundle + clients)
    if clients:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
