"""The bundle endpoint: where other trust domains fetch this one's bundle. HTTPS only.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Federation.md. With the control plane's own certificate it
is of the profile https_spiffe, with a given one of https_web. ``/`` has the bundle, ``/keys`` the keys of tokens alone,
for verifiers that know nothing of SPIFFE.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.server import ServerLimits, new_application, serving
from weft.controlplane.ports import Ports
from weft.controlplane.settings import ServeError, ServeSettings
from weft.model.bundles import TrustBundle, bundle_to_json, key_set
from weft.model.workload import SocketAddress

BUNDLE_LIMITS = ServerLimits(connections=64, silence=5.0)
"""Others come every few minutes."""
_LOOK_SECONDS = 30.0
_BODY_LIMIT = 1024
_log = logging.getLogger("weft.federation")


def bundle_application(bundle: Callable[[], TrustBundle]) -> web.Application:
    """Public: what it tells is what everybody needs who checks our proofs."""
    application = new_application(body_limit=_BODY_LIMIT, one_request=True)

    async def whole(_: web.Request) -> web.Response:
        return _answer(bundle_to_json(bundle()))

    async def keys(_: web.Request) -> web.Response:
        return _answer(key_set(bundle().token_keys))

    def _answer(text: str) -> web.Response:
        age = f"max-age={int(bundle().refresh_hint)}"
        return web.Response(text=text, content_type="application/json", headers={"Cache-Control": age})

    application.router.add_get("/", whole)
    application.router.add_get("/keys", keys)
    return application


class WebCertificate:
    """A certificate from files, for https_web. It is read again when the files change."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.num_tickets = 0
        self._seen = self._load()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Follow the files for ever."""
        while True:
            await sleep(_LOOK_SECONDS)
            try:
                if self._times() != self._seen:
                    self._seen = self._load()
                    _log.info("the bundle endpoint has a new certificate")
            except (OSError, ServeError) as error:  # half of a replacement: the one in use goes on
                _log.warning("the bundle endpoint's certificate cannot be read: %s", error)

    def _load(self) -> tuple[float, ...]:
        """Read both files; ServeError if they are not what they should be."""
        certificate, key = self._files
        try:
            times = self._times()
            if stat.S_IMODE(key.stat().st_mode) & 0o077:
                raise ServeError(f"{key} can be read by other users; run: chmod 600 '{key}'")
            self.tls.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise ServeError(f"{certificate} and {key} are no certificate and its key, in PEM") from error
        except OSError as error:
            raise ServeError(f"cannot read the bundle endpoint's certificate: {error}") from error
        return times

    def _times(self) -> tuple[float, ...]:
        return tuple(path.stat().st_mtime for path in self._files)


async def bind_bundle(ports: Ports, settings: ServeSettings) -> socket.socket | None:
    """The socket of the endpoint, if there is to be one."""
    where = settings.bundle_endpoint
    if where is None:
        return None
    return await ports.bind("bundle", where.host, where.port, 0, "--bundle-endpoint", looked_up=True)


def bundle_url(listener: socket.socket | None) -> str:
    """Where the bundle is published; empty: nowhere."""
    return f"https://{SocketAddress(*listener.getsockname()[:2])}/" if listener is not None else ""


@contextlib.asynccontextmanager
async def serving_bundle(
    context: ApiContext, settings: ServeSettings, listener: socket.socket | None, own: ssl.SSLContext
) -> AsyncIterator[None]:
    """The endpoint, if there is a `listener`: with the given certificate, else with the control plane's `own`."""
    keys = context.token_keys
    if listener is None or keys is None:
        yield
        return
    application = bundle_application(lambda: keys.bundle(context.authority.workload_bundle))
    given = WebCertificate(*settings.bundle_certificate) if settings.bundle_certificate else None
    following = asyncio.create_task(given.run()) if given else None
    try:
        async with serving(application, listener, given.tls if given else own, BUNDLE_LIMITS):
            yield
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
