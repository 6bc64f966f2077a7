"""The certificate authority of a mesh: its keys on disk, and what it signs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from weft.ca.certificates import (
    LeafParameters,
    Signer,
    Validity,
    build_intermediate,
    build_leaf,
    build_root,
    certificate_pem,
    key_pem,
    new_key,
    signer_from_pem,
    trust_domain_of,
)
from weft.ca.request import CertificateRefusedError, public_key_from_request
from weft.model.enrolment import Issued
from weft.model.identity import DEFAULT_TRUST_DOMAIN, SpiffeId, is_dns_label, proxy_name, spiffe_id_from_text
from weft.settings.private import (
    PermissionsError,
    check_private,
    make_private_directory,
    remove_unfinished,
    write_atomically,
)

DEFAULT_TTL = 24 * 3600.0
MINIMUM_TTL = 10.0
BACKDATED = 60.0
_DAY = 24 * 3600.0
ROOT_LIFE = 3652 * _DAY
INTERMEDIATE_LIFE = 365 * _DAY
MAX_COMMON_NAME = 64
CONTROL_PLANE_NAMESPACE = "weft-system"
CONTROL_PLANE_ACCOUNT = "weft-control-plane"

Clock = Callable[[], float]
_log = logging.getLogger("weft.certificate")


class AuthorityError(Exception):
    """The CA's files cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The control plane's own certificate. `key` is PEM and lives in memory only."""

    key: str = field(repr=False)
    chain: str
    bundle: str
    identity: SpiffeId
    not_before: float
    not_after: float


class Authority:
    """Signs certificates for one trust domain. Made by `open_authority`; one process owns the directory.

    Each of ``root.pem`` and ``intermediate.pem`` holds a key and its certificate, and is replaced as a whole: there is
    no moment at which a crash leaves a key without its certificate.
    """

    def __init__(self, directory: Path, trust_domain: str, root: Signer, intermediate: Signer, clock: Clock) -> None:
        self.trust_domain = trust_domain
        self._directory = directory
        self._root = root
        self._intermediate = intermediate
        self._clock = clock

    @property
    def bundle(self) -> str:
        """The trust bundle: PEM of the roots."""
        return certificate_pem(self._root.certificate)

    @property
    def fingerprint(self) -> str:
        """``sha256:HEX`` of the root certificate's DER, for agents on other hosts to pin."""
        return fingerprint_of(self._root.certificate.public_bytes(serialization.Encoding.DER))

    def issue(self, csr: str, identity: SpiffeId, proxy: str, ttl: float = DEFAULT_TTL) -> Issued:
        """A certificate for the *authenticated* `identity` and `proxy`, with the public key of `csr`.

        `ttl` in seconds is cut to 24 h and to the intermediate's own end. Raises CertificateRefusedError.
        """
        self._check_identity(identity, proxy)
        key = public_key_from_request(csr, identity, proxy)
        validity = self._validity(ttl)
        leaf = build_leaf(self._intermediate, LeafParameters(identity, proxy, key, validity))
        chain = certificate_pem(leaf, self._intermediate.certificate)
        return Issued(chain, self.bundle, validity.not_before, validity.not_after)

    def server_certificate(self, hosts: Sequence[str], ttl: float = DEFAULT_TTL) -> ServerCertificate:
        """A new key and certificate for the control plane itself, valid for `hosts` (names or IP addresses)."""
        identity = SpiffeId(self.trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)
        name = proxy_name(CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE)
        names = tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", *hosts)))
        key = new_key()
        validity = self._validity(ttl)
        leaf = build_leaf(self._intermediate, LeafParameters(identity, name, key.public_key(), validity, names))
        chain = certificate_pem(leaf, self._intermediate.certificate)
        return ServerCertificate(key_pem(key), chain, self.bundle, identity, validity.not_before, validity.not_after)

    def rotate(self) -> bool:
        """Replace the intermediate if half its life is over; whether it did.

        Certificates signed by the old one stay valid: they carry it in their chain and end before it does.
        """
        signer = self._intermediate
        if self._clock() < signer.not_before + (signer.not_after - signer.not_before) / 2:
            return False
        self._intermediate = _make_intermediate(self._directory, self.trust_domain, self._root, self._clock())
        return True

    def _check_identity(self, identity: SpiffeId, proxy: str) -> None:
        if identity.trust_domain != self.trust_domain:
            raise CertificateRefusedError(
                "wrong-trust-domain", f"this CA signs for {self.trust_domain}, not for {identity.trust_domain!a}"
            )
        name, _, namespace = proxy.partition(".")
        well_formed = spiffe_id_from_text(str(identity)) == identity and is_dns_label(name)
        if not well_formed or namespace != identity.namespace:
            raise CertificateRefusedError(
                "bad-identity", "the workload's names are not RFC 1123 labels of one identity"
            )
        if len(proxy) > MAX_COMMON_NAME:
            raise CertificateRefusedError(
                "name-too-long", f"{proxy}: workload and namespace together may have {MAX_COMMON_NAME - 1} characters"
            )

    def _validity(self, ttl: float) -> Validity:
        now = self._clock()
        end = min(now + min(max(ttl, MINIMUM_TTL), DEFAULT_TTL), self._intermediate.not_after)
        return Validity(float(int(now - BACKDATED)), float(int(end)))


def open_authority(directory: Path, trust_domain: str = DEFAULT_TRUST_DOMAIN, *, clock: Clock = time.time) -> Authority:
    """The CA in `directory`, made if it is not there. Raises AuthorityError if its files are open to others,
    damaged, expired, or made for another trust domain."""
    try:
        make_private_directory(directory)
        remove_unfinished(directory)
        root = _read(directory / "root.pem") or _make_root(directory, trust_domain, clock())
        made_for = trust_domain_of(root.certificate)
        if made_for != trust_domain:
            raise AuthorityError(
                f"the CA in {directory} is that of trust domain '{made_for}', not of '{trust_domain}'; "
                "use another --home or the former trust domain"
            )
        if root.not_after <= clock():
            raise AuthorityError(f"the root certificate in {directory} has expired; move the directory away")
        intermediate = _read(directory / "intermediate.pem")
        if intermediate is None or not _signed_by(intermediate, root) or intermediate.not_after <= clock():
            intermediate = _make_intermediate(directory, trust_domain, root, clock())
    except (PermissionsError, OSError) as error:
        raise AuthorityError(f"cannot use the CA: {error}") from error
    authority = Authority(directory, trust_domain, root, intermediate, clock)
    authority.rotate()
    return authority


async def run_rotation(
    authority: Authority, *, interval: float = 3600.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Rotate the intermediate when it is due, for ever."""
    while True:
        await sleep(interval)
        try:
            authority.rotate()
        except OSError as error:  # a full disk; half of the intermediate's life is left
            _log.warning("the intermediate certificate cannot be replaced, trying again: %s", error)


def fingerprint_of(der: bytes) -> str:
    """How a root certificate is pinned: ``sha256:HEX`` of its DER."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _read(path: Path) -> Signer | None:
    if not path.exists():
        return None
    check_private(path)
    try:
        return signer_from_pem(path.read_text())
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise AuthorityError(f"{path} is damaged ({error}); restore it from a backup, or move it away") from error


def _make_root(directory: Path, trust_domain: str, now: float) -> Signer:
    root = build_root(trust_domain, Validity(now - BACKDATED, now + ROOT_LIFE))
    _write(directory / "root.pem", root)
    return root


def _make_intermediate(directory: Path, trust_domain: str, root: Signer, now: float) -> Signer:
    validity = Validity(now - BACKDATED, min(now + INTERMEDIATE_LIFE, root.not_after))
    signer = build_intermediate(root, trust_domain, validity)
    _write(directory / "intermediate.pem", signer)
    return signer


def _write(path: Path, signer: Signer) -> None:
    write_atomically(path, key_pem(signer.key) + certificate_pem(signer.certificate))


def _signed_by(signer: Signer, root: Signer) -> bool:
    try:
        signer.certificate.verify_directly_issued_by(root.certificate)
    except Exception:  # cryptography raises several unrelated types here
        return False
    return True
