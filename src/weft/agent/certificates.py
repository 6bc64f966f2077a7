"""The workload's certificate on disk, where Envoy follows it, and its renewal at half its life."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import shutil
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from weft.agent.errors import AgentError
from weft.agent.identity import Held
from weft.agent.keys import KeyAndRequest, belongs, fingerprints, make_key, trust_of, valid_times
from weft.model.distrust import Trust
from weft.model.enrolment import Issued
from weft.settings.private import make_private_directory, sync_directory, write_atomically
from weft.xds.bootstrap import build_secret_files
from weft.xds.nodes.names import CarriedName
from weft.xds.policies.tls import CONTROL_PLACE, MESH_PLACE, CredentialPlace

_LOG = logging.getLogger(__name__)
_AUTHORITY = "authority.pem"
_MIN_RETRY = 1.0
_MAX_RETRY = 60.0
_LONGEST_SLEEP = 60.0
"""A laptop that slept looks at the clock soon after it woke."""


class CertificateFiles:
    """``certs/`` and ``sds/`` below a workload's directory.

    ``certs/..data`` is a symbolic link to a directory that holds key, chain and bundle of one certificate. It is
    replaced in one step, so that Envoy, which watches ``certs/``, never sees a key with another key's certificate.
    The SDS files name paths relative to the workload's directory, in which Envoy is started. `installed` counts the
    certificates that this agent has put in place. ``roots`` names the roots that this workload has trusted since it
    joined, each handed on by the one before: a fingerprint given then stays good when roots are rotated.

    `place` is where Envoy finds them: what proxies show to each other, or (where that comes from another source) what
    one shows to the control plane. `then` is called after each installation. `whose` are those that the Envoy of a node
    reads, which is started in the node's directory.
    """

    def __init__(self, directory: Path, place: CredentialPlace = MESH_PLACE, whose: CarriedName | None = None) -> None:
        self._directory = directory
        self._place = place
        self._whose = whose
        self.then: Callable[[], None] = lambda: None
        self._certs = directory / place.directory
        self._sds = directory / "sds"
        self._roots = directory / "roots"
        self.installed = 0

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
        """The trust bundle: by which other workloads prove themselves."""
        return self._certs / "..data" / "bundle.pem"

    @property
    def authority(self) -> Path:
        """The roots of the mesh's own authority, by which the control plane proves itself. Part of the trust bundle
        where the mesh has another source of identities, else all of it."""
        path = self._certs / "..data" / _AUTHORITY
        return path if path.exists() else self.bundle

    @property
    def revoked(self) -> Path:
        """The revocation list; empty where nothing is revoked. It outlives certificates."""
        return self._certs / "revoked.pem"

    def prepare(self) -> None:
        """Make the directories and the SDS files."""
        make_private_directory(self._certs)
        make_private_directory(self._sds)
        if not self.revoked.exists():
            write_atomically(self.revoked, "")
        data = f"{self._place.directory}/..data"
        trusted = _AUTHORITY if self._place is CONTROL_PLACE else "bundle.pem"
        names = (f"{data}/chain.pem", f"{data}/key.pem", f"{data}/{trusted}", self._place.directory)
        files = build_secret_files(*names, host_trust=host_trust(), place=self._place, whose=self._whose)
        for name, text in files.items():
            path = self._directory / name
            if not path.exists() or path.read_text() != text:
                write_atomically(path, text, durable=False)
        sync_directory(self._sds)

    def install(self, key: str, issued: Issued, joined_by: str = "") -> None:
        """Put a new key and certificate in place in one step. `joined_by` is the fingerprint (hex) by which the control
        plane was known, when it was not by the certificate before."""
        if not belongs(key, issued.chain):
            raise AgentError("the control plane sent a certificate for another key")
        fresh = self._certs / f"..{int(time.time())}-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        parts = {"key.pem": key, "chain.pem": issued.chain, "bundle.pem": issued.bundle + issued.others}
        if issued.others or self._place is CONTROL_PLACE:
            parts[_AUTHORITY] = issued.bundle
        for name, text in parts.items():
            write_atomically(fresh / name, text, durable=False)
        sync_directory(fresh)
        self._hand_on(issued.bundle, joined_by)
        link = self._certs / "..new"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.replace(self._certs / "..data")
        self.installed += 1
        self._remove_others(fresh.name)
        self.then()

    def refuse(self, revoked: str) -> None:
        """Put another revocation list in place, in one step; empty: nothing is revoked."""
        write_atomically(self.revoked, revoked)

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
            return Held(fingerprints(self.authority.read_text()) | self._handed_on(), start, end)
        except (OSError, ValueError, IndexError):
            return None

    def trust(self) -> Trust | None:
        """What the installed certificate says of trust that ended before it, or None."""
        try:
            return trust_of(self.chain.read_text())
        except (OSError, ValueError, IndexError):
            return None

    def _hand_on(self, bundle: str, joined_by: str) -> None:
        """The roots of `bundle` come after those so far, or, when joining anew, after the one that was given."""
        try:
            roots = fingerprints(bundle)
        except ValueError as error:
            raise AgentError("the control plane sent no trust bundle") from error
        before = self._handed_on()
        names = ({joined_by} if joined_by else before) | roots
        if names != before:
            write_atomically(self._roots, "\n".join(sorted(names)) + "\n")

    def _handed_on(self) -> frozenset[str]:
        try:
            return frozenset(self._roots.read_text().split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def remove(self) -> None:
        """Remove keys and certificates."""
        self._roots.unlink(missing_ok=True)
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


_TRUST_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Fedora, openSUSE, and Alpine, the BSDs and macOS keep whom they trust."""


def host_trust() -> str:
    """The file of the authorities that this machine trusts: what OpenSSL here says (``SSL_CERT_FILE``), or where
    systems have it; empty if there is none."""
    named = ssl.get_default_verify_paths().cafile
    return next((path for path in (named, *_TRUST_STORES) if path and Path(path).is_file()), "")


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
