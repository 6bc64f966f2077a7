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
    ) -> None:
        self._authority = authority
        self._hosts = tuple(hosts)
        self._directory = directory
        self._ttl = ttl
        self._clock = clock
        self._sleep = sleep
        self.current: Cell[ServerCertificate] = Cell(self._new())
        self.tls = _server_context(authority.bundle)
        self._load(self.current.value)

    async def run(self) -> None:
        """Renew at half of each certificate's life, for ever; new hand-shakes use the new one."""
        while True:
            half = self.renewal
            await self._sleep(min(max(half - self._clock(), 1.0), 3600.0))
            if self._clock() < half:
                continue
            fresh = self._new()
            try:
                self._load(fresh)
            except OSError as error:  # a full disk; half of the certificate's life is left
                _log.warning("cannot renew the control plane's certificate, trying again: %s", error)
                await self._sleep(self._ttl / 10)
                continue
            self.current.set(fresh)
            _log.info("renewed the control plane's certificate")

    @property
    def renewal(self) -> float:
        """When to renew: at half of its life from when it was made. It is valid a while before, for slow clocks."""
        current = self.current.value
        return (current.not_before + BACKDATED + current.not_after) / 2

    def _new(self) -> ServerCertificate:
        return self._authority.server_certificate(self._hosts, self._ttl)

    def _load(self, certificate: ServerCertificate) -> None:
        """`ssl` reads files only: the key is in one, 0600 in the private directory, for as long as that takes."""
        path = self._directory / f".server.pem.new-{secrets.token_hex(4)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(certificate.key + certificate.chain + certificate.bundle)
            self.tls.load_cert_chain(path)
        finally:
            path.unlink()


def _server_context(bundle: str) -> ssl.SSLContext:
    """TLS 1.3 only; a client certificate is optional, but one that is shown must be of this mesh. No resumption: every
    connection proves itself anew."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.load_verify_locations(cadata=bundle)
    return context
