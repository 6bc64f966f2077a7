"""The control plane's own certificate: kept fresh, and put into the agent API's TLS context."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from weft.aio.cell import Cell
from weft.ca.authority import Authority, ServerCertificate

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
    ) -> None:
        self._authority = authority
        self._hosts = tuple(hosts)
        self._directory = directory
        self._ttl = ttl
        self._clock = clock
        self.current: Cell[ServerCertificate] = Cell(self._new())
        self.tls = _server_context(authority.bundle)
        self._load()

    @property
    def renewal(self) -> float:
        """When half of the current certificate's life is over. It is valid from some minutes before it was made, for
        clocks that are behind, which do not count."""
        return (self._made + self.current.value.not_after) / 2

    async def run(self) -> None:
        """Renew at half of each certificate's life, for ever; new hand-shakes use the new one."""
        while True:
            await asyncio.sleep(min(max(self.renewal - self._clock(), 1.0), 3600.0))
            if self._clock() < self.renewal:
                continue
            self.current.set(self._new())
            self._load()
            _log.info("renewed the control plane's certificate")

    def _new(self) -> ServerCertificate:
        self._made = self._clock()
        return self._authority.server_certificate(self._hosts, self._ttl)

    def _load(self) -> None:
        """`ssl` reads files only: the key is in one, 0600 in the private directory, for as long as that takes."""
        certificate = self.current.value
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
