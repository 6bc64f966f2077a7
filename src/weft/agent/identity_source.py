"""Where a workload's certificate comes from, if not from the mesh's authority: the Workload API of SPIRE or another.

The proxy then has two certificates. The one of the Workload API is what it shows to other workloads. The one of the
mesh's authority names the proxy and opens its streams to the control plane, and nothing else is done with it. Whom the
proxy believes is said by the control plane alone, for both.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from weft.agent.certificates import CertificateFiles
from weft.agent.client import UnreachableError
from weft.agent.errors import EXIT_TIMEOUT, AgentError
from weft.agent.metrics.own import own_peer
from weft.agent.proofs import signature_of
from weft.agent.workload_api.client import SourceError, WorkloadApiClient
from weft.agent.workload_api.messages import GivenSvid
from weft.ca.svid import SvidError, certificates_from_der, check_svid, pem_of
from weft.model.enrolment import Issued
from weft.model.identity import SpiffeId, spiffe_id_from_text

_LOG = logging.getLogger(__name__)
_FIRST_RETRY = 0.2
_LONGEST_RETRY = 10.0
_PROOF_SECONDS = 2.0
_SAY_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class Svid:
    """A chain with its key, as it was given. `key_pem` is PKCS #8."""

    spiffe_id: str
    chain: tuple[x509.Certificate, ...]
    key: object = field(repr=False)
    key_pem: str = field(repr=False)


class IdentitySource:
    """Follows the SVID of one workload (`namespace`, `service_account`) and installs it in `files`, where Envoy reads
    it, with the roots that the control plane last gave to `control`. `run` is its one task."""

    def __init__(
        self,
        client: WorkloadApiClient,
        identity: tuple[str, str],
        files: CertificateFiles,
        control: CertificateFiles,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.files = files
        self._client = client
        self._path = f"/ns/{identity[0]}/sa/{identity[1]}"
        self._control = control
        self._clock = clock
        self._sleep = sleep
        self._svid: Svid | None = None
        self._arrived = asyncio.Event()
        self._installed = asyncio.Event()
        self._why = "it has not answered yet"

    @property
    def address(self) -> str:
        """As applications find it."""
        return f"unix://{self._client.path}"

    async def run(self) -> None:
        """Follow for ever. While the source is away, what it gave last is used."""
        retry, said = _FIRST_RETRY, ""
        while True:
            try:
                async for given in self._client.x509_svids():
                    self._take(given)
                    retry, said = _FIRST_RETRY, ""
            except (SourceError, SvidError) as error:
                self._why = str(error)
                if self._why != said:
                    _LOG.warning("%s; trying again", error)
                said = self._why
            await self._sleep(retry * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load, is no secret
            retry = min(retry * 2, _LONGEST_RETRY)

    async def prove(self, message: bytes) -> tuple[str, str]:
        """The chain, and its key's signature of `message` (base64). UnreachableError if there is no SVID yet."""
        try:
            async with asyncio.timeout(_PROOF_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            pass
        svid = self._svid
        if svid is None:
            raise UnreachableError(f"no identity to join by: {self._why}")
        return pem_of(svid.chain), signature_of(svid.key, message, svid.spiffe_id)

    async def installed(self, wait: float) -> None:
        """Wait up to `wait` seconds (0: for ever) until a certificate is in place. AgentError when that is over."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            left = wait - (clock() - began) if wait else _SAY_EVERY
            if left <= 0:
                raise AgentError(f"gave up after {wait:g} s: no identity: {self._why}", EXIT_TIMEOUT)
            try:
                async with asyncio.timeout(min(left, _SAY_EVERY)):
                    await self._installed.wait()
                return
            except TimeoutError:
                _LOG.info("waiting for an identity: %s", self._why)

    def refresh(self) -> None:
        """The control plane has said whom to believe: put the SVID in place with that."""
        if self._svid is None:
            return
        try:
            self._install(self._svid)
        except (SvidError, OSError, AgentError) as error:
            self._say(error)

    def _take(self, given: tuple[GivenSvid, ...]) -> None:
        """The SVID of ours among those that were given. SvidError keeps the one before."""
        mine = [one for one in given if one.spiffe_id.startswith("spiffe://") and _path(one) == self._path]
        if not mine:
            offered = ", ".join(one.spiffe_id[:100] for one in given[:5]) or "none"
            raise SvidError(
                f"the Workload API has no identity spiffe://…{self._path} for this process, only: {offered}"
            )
        self._svid = _svid(mine[0])
        self._arrived.set()
        self.refresh()

    def _install(self, svid: Svid) -> None:
        """Raises SvidError while the mesh does not trust its authority, or if it is another's."""
        control = self._control.chain
        if not control.exists():
            return  # before the first registration
        mesh = _identity_of(self._control)
        bundle = self._control.bundle.read_text()
        roots = x509.load_pem_x509_certificates(bundle.encode())
        found = check_svid(svid.chain, roots, mesh.trust_domain, self._clock())
        if found != mesh:
            raise SvidError(f"the Workload API's identity is {found}, this workload's is {mesh}")
        chain = pem_of(svid.chain)
        if self._is_in_place(chain, bundle):
            return
        leaf = svid.chain[0]
        begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        self.files.install(svid.key_pem, Issued(chain, bundle, begin, end))
        self._installed.set()
        _LOG.info("identity %s of %s, valid for %.1f h", found, self._client.path, (end - self._clock()) / 3600)

    def _is_in_place(self, chain: str, bundle: str) -> bool:
        try:
            same = (self.files.chain.read_text(), self.files.bundle.read_text()) == (chain, bundle)
        except OSError:
            return False
        if same:
            self._installed.set()
        return same

    def _say(self, error: Exception) -> None:
        text = str(error)
        if isinstance(error, SvidError) and "root" in text:
            text += "; does its control plane follow that source (weft serve --identity-from)?"
        if text != self._why:
            _LOG.warning("the identity cannot be put in place: %s", text)
        self._why = text


def _path(given: GivenSvid) -> str:
    return "/" + given.spiffe_id.removeprefix("spiffe://").partition("/")[2]


def _svid(given: GivenSvid) -> Svid:
    chain = certificates_from_der(given.chain, 8)
    if not chain:
        raise SvidError("the Workload API gave no certificate")
    try:
        key = serialization.load_der_private_key(given.key, None)
    except (ValueError, TypeError) as error:
        raise SvidError("the Workload API's key cannot be read") from error
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Svid(given.spiffe_id, chain, key, text.decode())


def _identity_of(files: CertificateFiles) -> SpiffeId:
    """Who the workload is, as the mesh's authority certified it."""
    identity = spiffe_id_from_text(own_peer(files.chain)[0].principal)
    if identity is None:
        raise SvidError("the mesh's own certificate of this workload cannot be read")
    return identity
