"""A control plane on another host: where it is, by what it proves itself to us, and we to it.

``weft --server`` and its kin set the variables; commands and the processes that they start read them here.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weft.settings.private import check_private

SERVER = "WEFT_SERVER"
TOKEN_FILE = "WEFT_TOKEN_FILE"  # noqa: S105 - the name of a variable
CA_FILE = "WEFT_CA_FILE"
CA_FINGERPRINT = "WEFT_CA_FINGERPRINT"
CERT_FILE = "WEFT_CERT_FILE"
KEY_FILE = "WEFT_KEY_FILE"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT = 10.0


class RemoteError(Exception):
    """How the control plane is reached cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class Remote:
    """See the module. Empty strings: not given. Without `ca_file` and `fingerprint` this host's roots are trusted."""

    server: str
    token_file: str = ""
    ca_file: str = ""
    fingerprint: str = ""
    cert_file: str = ""
    key_file: str = ""

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is opened when it is used. RemoteError, OSError."""
        parts = urlsplit(self.server)
        host = parts.hostname or ""
        if parts.scheme == "http" and host in _LOOPBACK:
            return http.client.HTTPConnection(host, parts.port or 80, timeout=timeout)
        if parts.scheme != "https" or not host or parts.path.strip("/") or parts.username is not None:
            raise RemoteError(
                f"--server {self.server}: expected https://NAME:PORT; plain HTTP is for loopback, such as the end of "
                "an SSH tunnel"
            )
        port = parts.port or 443
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context(host, port))

    def _context(self, host: str, port: int) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.fingerprint:
            context = _trusting(pinned_root(host, port, self.fingerprint))
        elif self.ca_file:
            try:
                context = _trusting(Path(self.ca_file).read_text("ascii"))
            except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
                raise RemoteError(f"--ca-file {self.ca_file}: expected certificates in PEM ({error})") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.cert_file:
            key = Path(self.key_file or self.cert_file)
            check_private(key)
            try:
                context.load_cert_chain(self.cert_file, key)
            except (OSError, ssl.SSLError) as error:
                text = f"--cert-file {self.cert_file}: expected a certificate and its key ({error})"
                raise RemoteError(text) from error
        return context

    def credentials(self) -> dict[str, str]:
        """The header that proves who we are; none where a certificate does. RemoteError, PermissionsError."""
        if not self.token_file:
            if not self.cert_file:
                raise RemoteError(f"--server {self.server} needs --token-file FILE (or --cert-file): who are you?")
            return {}
        path = Path(self.token_file)
        try:
            check_private(path)
            return {"authorization": f"Bearer {path.read_text('ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise RemoteError(f"--token-file {self.token_file} cannot be read: {error}") from error


def _trusting(roots: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=roots)
    return context


def remote_from_environment(environment: Mapping[str, str] = os.environ) -> Remote | None:
    """The control plane on another host that is meant; None: the one of the home."""
    if not environment.get(SERVER):
        return None
    names = (SERVER, TOKEN_FILE, CA_FILE, CA_FINGERPRINT, CERT_FILE, KEY_FILE)
    return Remote(*(environment.get(name, "") for name in names))


def pinned_root(host: str, port: int, fingerprint: str) -> str:
    """The certificate (PEM) of this SHA-256 that a server shows in its chain. Nothing is sent to it, and it is not
    trusted by this: whoever has the root does not have its key. RemoteError if it shows none."""
    wanted = re.sub(r"[^0-9a-f]", "", fingerprint.lower().removeprefix("sha256:"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with (
        socket.create_connection((host, port), _TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        for one in _shown(connection):
            if hmac.compare_digest(hashlib.sha256(one).hexdigest(), wanted):
                return ssl.DER_cert_to_PEM_cert(one)
    raise RemoteError(
        f"https://{host}:{port} has another CA than the given fingerprint: it is not the control plane that you mean, "
        "or somebody is in between"
    )


def _shown(connection: Any) -> list[bytes]:
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return [bytes(one) for one in connection.get_unverified_chain()]
    chain = connection._sslobj.get_unverified_chain() or ()
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain]
