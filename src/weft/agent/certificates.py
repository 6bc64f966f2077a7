"""The workload's certificate on disk, where Envoy follows it, and its renewal at half its life."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from weft.agent.errors import AgentError
from weft.agent.identity import Held
from weft.agent.keys import KeyAndRequest, belongs, fingerprints, make_key, valid_times
from weft.model.enrolment import Issued
from weft.settings.private import make_private_directory, write_atomically
from weft.xds.bootstrap import build_secret_files

_LOG = logging.getLogger(__name__)
_MIN_RETRY = 1.0
_MAX_RETRY = 60.0
_LONGEST_SLEEP = 60.0
"""A laptop that slept looks at the clock soon after it woke."""


class CertificateFiles:
    """``certs/`` and ``sds/`` below a workload's directory.

    ``certs/..data`` is a symbolic link to a directory that holds key, chain and bundle of one certificate. It is
    replaced in one step, so that Envoy, which watches ``certs/``, never sees a key with another key's certificate.
    The SDS files name paths relative to the workload's directory, in which Envoy is started.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._certs = directory / "certs"
        self._sds = directory / "sds"

    @property
    def key(self) -> Path:
        """The private key, 0600."""
        return self._certs / "..data" / "key.pem"

    @property
    def chain(self) -> Path:
        """Leaf and intermediate."""
        return self._certs / "..data" / "chain.pem"

    @property
    def bundle(self) -> Path:
        """The trust bundle."""
        return self._certs / "..data" / "bundle.pem"

    def prepare(self) -> None:
        """Make the directories and the SDS files."""
        make_private_directory(self._certs)
        make_private_directory(self._sds)
        data = "certs/..data"
        files = build_secret_files(f"{data}/chain.pem", f"{data}/key.pem", f"{data}/bundle.pem", "certs")
        for name, text in files.items():
            path = self._directory / name
            if not path.exists() or path.read_text() != text:
                write_atomically(path, text)

    def install(self, key: str, issued: Issued) -> None:
        """Put a new key and certificate in place in one step."""
        if not belongs(key, issued.chain):
            raise AgentError("the control plane sent a certificate for another key")
        fresh = self._certs / f"..{int(time.time())}-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        for name, text in (("key.pem", key), ("chain.pem", issued.chain), ("bundle.pem", issued.bundle)):
            write_atomically(fresh / name, text)
        link = self._certs / "..new"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.replace(self._certs / "..data")
        self._remove_others(fresh.name)

    def times(self) -> tuple[float, float] | None:
        """From when (its installation at the earliest) until when the installed certificate serves, or None."""
        try:
            start, end = valid_times(self.chain.read_text())
            return max(start, self.chain.stat().st_mtime), end
        except (OSError, ValueError, IndexError):
            return None

    def held(self) -> Held | None:
        """The installed certificate's times and the roots beside it, or None."""
        try:
            start, end = valid_times(self.chain.read_text())
            return Held(fingerprints(self.bundle.read_text()), start, end)
        except (OSError, ValueError, IndexError):
            return None

    def remove(self) -> None:
        """Remove keys and certificates."""
        shutil.rmtree(self._certs, ignore_errors=True)
        shutil.rmtree(self._sds, ignore_errors=True)

    def _remove_others(self, current: str) -> None:
        """Remove all but the current generation and the one before, which Envoy may be reading."""
        generations = [path for path in self._certs.glob("..*-*") if path.name != current]
        generations.sort(key=lambda path: path.stat().st_mtime)
        for path in generations[:-1]:
            shutil.rmtree(path, ignore_errors=True)


async def run_renewal(
    files: CertificateFiles,
    request: Callable[[KeyAndRequest], Awaitable[Issued]],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    poked: asyncio.Event | None = None,
) -> None:
    """Renew the certificate at half its life, give or take a tenth, for ever.

    `request` gets a certificate for a new key; when it fails it is asked again, later each time, up to once a minute.
    `poked` renews at once.
    """
    retry = _MIN_RETRY
    while True:
        delay = renewal_time(files.times()) - clock()
        if delay > 0 and not await _pause(min(delay, _LONGEST_SLEEP), sleep, poked):
            continue
        try:
            fresh = make_key()
            issued = await request(fresh)
            files.install(fresh.key, issued)
            retry = _MIN_RETRY
            _LOG.info("certificate renewed, valid for %.1f h", (issued.not_after - clock()) / 3600)
        except (AgentError, OSError) as error:
            _LOG.warning("cannot renew the certificate, trying again in %.0f s: %s", retry, error)
            await sleep(retry * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load, is no secret
            retry = min(retry * 2, _MAX_RETRY)


def renewal_time(times: tuple[float, float] | None) -> float:
    """When to renew a certificate with these times: at half its life, give or take a tenth of it."""
    if times is None:
        return 0.0
    start, end = times
    spread = ((start * 2654435761) % 1000) / 1000  # differs between certificates, stays the same for one
    return start + (end - start) * (0.45 + 0.1 * spread)


async def _pause(delay: float, sleep: Callable[[float], Awaitable[None]], poked: asyncio.Event | None) -> bool:
    """Sleep; True when it was cut short by `poked`."""
    if poked is None:
        await sleep(delay)
        return False
    try:
        async with asyncio.timeout(delay):
            await poked.wait()
    except TimeoutError:
        return False
    poked.clear()
    return True
