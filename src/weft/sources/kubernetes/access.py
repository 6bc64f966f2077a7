"""Access to an API server: where it is, whom to trust there, and who weft is. Files are read again when they change.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_EARLY_SECONDS = 10.0
_Signature = tuple[tuple[int, int, int], ...]


class AccessError(Exception):
    """Nothing can be shown to the API server, or it cannot be found; the message says why and what is expected."""


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes that stand in a file, or in the kubeconfig itself."""

    data: bytes = field(default=b"", repr=False)
    file: Path | None = None

    def read(self) -> bytes:
        """The bytes now. OSError if they cannot be read."""
        return self.data if self.file is None else self.file.read_bytes()

    @property
    def there(self) -> bool:
        """Whether anything was given."""
        return bool(self.data) or self.file is not None


@dataclass(frozen=True, slots=True)
class Access:
    """`server` is a URL without a path's end slash, `name` what people call it. `authorities` are PEM (nothing: the
    system's), `server_name` the name that its certificate has to have (empty: its host)."""

    name: str
    server: str
    authorities: Given = Given()
    server_name: str = ""
    certificate: Given = Given()
    key: Given = Given()
    token: Given = Given()
    said_in: tuple[Path, ...] = ()
    """The files that say all this."""
    until: float = 0.0
    """When it ends (epoch seconds, 0: it is not known), and is asked for again."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is made of."""
        parts = (self.authorities.file, self.certificate.file, self.key.file, self.token.file, *self.said_in)
        return tuple(part for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request takes along. `tls` is None for a server on loopback that speaks plain HTTP."""

    server: str
    server_name: str
    headers: dict[str, str] = field(repr=False)
    tls: ssl.SSLContext | None


class Credentials:
    """What is shown to the server now. `read` gives the access, and says what is wrong with it by AccessError."""

    def __init__(self, read: Callable[[], Access]) -> None:
        self._read = read
        self._signature: _Signature = ()
        self._files: tuple[Path, ...] = ()
        self._shown: Shown | None = None
        self._until = 0.0
        self._reader = ThreadPoolExecutor(1, "weft-credentials")

    async def shown(self) -> Shown:
        """As `current`, in the one thread that reads: where many kinds begin at once, the files are read once."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self.current)

    def current(self) -> Shown:
        """What to show; blocks. The same object as long as no file changed and it has
        not ended. AccessError if there is nothing good."""
        try:
            ended = self._until and time.time() >= self._until - _EARLY_SECONDS
            if self._shown is not None and not ended and _signature(self._files) == self._signature:
                return self._shown
            access = self._read()
            signature = _signature(access.files)
            self._shown, self._signature, self._files = _shown(access), signature, access.files
            self._until = access.until
        except (OSError, ssl.SSLError) as error:
            self._shown = None
            raise AccessError(str(error)) from error
        return self._shown

    def forget(self) -> None:
        """The server did not take it: read everything again."""
        self._shown = None


def check_server(text: str) -> str:
    """A server's URL without its last slash. AccessError unless it is https, or http on loopback."""
    parts = urlsplit(text)
    plain = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise AccessError(f"the server '{text[:200]}' is no https URL; expected https://HOST:PORT")
    return text.rstrip("/")


def from_base64(text: str, what: str) -> bytes:
    """The bytes of a field of a kubeconfig file."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AccessError(f"{what} is no base64") from error


def _shown(access: Access) -> Shown:
    headers = {}
    token = access.token.read().decode("ascii", "replace").strip()
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise AccessError("the token is not one line of printable text")
        headers["Authorization"] = f"Bearer {token}"
    return Shown(access.server, access.server_name, headers, _tls(access))


def _tls(access: Access) -> ssl.SSLContext | None:
    if access.server.startswith("http:"):
        return None
    context = ssl.create_default_context()
    if access.authorities.there:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=access.authorities.read().decode("ascii", "replace"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.certificate.there:
        load_pair(context, access.certificate.read(), access.key.read())
    return context


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads a pair from a file only: one that nobody else can open and that is gone at once."""
    descriptor, name = tempfile.mkstemp(prefix="weft-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()


def _signature(paths: tuple[Path, ...]) -> _Signature:
    statuses = [path.stat() for path in paths]
    return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in statuses)
