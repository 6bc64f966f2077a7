"""The certificate authority of a mesh: its keys on disk, and what it signs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from weft.aio.cell import Cell
from weft.ca.certificates import (
    LeafParameters,
    Subject,
    Validity,
    build_leaf,
    certificate_pem,
    key_pem,
    new_key,
)
from weft.ca.generations import (
    BACKDATED,
    CA_EXPIRED,
    INTERMEDIATE_LIFE,
    ROOT_LIFE,
    chain_links,
    intermediate_under,
    load_generation,
    new_generation,
    new_link,
)
from weft.ca.protocol import AuthorityError
from weft.ca.request import CertificateRefusedError, public_key_from_request
from weft.ca.revocation import build_revocation_list
from weft.ca.rotation import Phase, Rotation, Wanted, abort, begin
from weft.ca.slots import Generation, Kept, Link, Slots
from weft.model.distrust import NO_TRUST, Trust
from weft.model.enrolment import Issued
from weft.model.identity import (
    DEFAULT_TRUST_DOMAIN,
    SpiffeId,
    is_dns_label,
    is_pod_uid,
    proxy_name,
    spiffe_id_from_text,
)
from weft.model.trust import FORMER_ROOTS, trust_digest
from weft.settings.private import PermissionsError
from weft.settings.shared import ResultT, SharedDirectory

__all__ = ["BACKDATED", "INTERMEDIATE_LIFE", "ROOT_LIFE", "AuthorityError"]
DEFAULT_TTL = 24 * 3600.0
MINIMUM_TTL = 10.0
CONTROL_PLANE_NAMESPACE = "weft-system"
CONTROL_PLANE_ACCOUNT = "weft-control-plane"

_NAME_PART = re.compile(r"[-A-Za-z0-9_.]{0,63}")
"""What a label's value is made of: nothing that has a meaning in a printed name."""

Clock = Callable[[], float]
_log = logging.getLogger("weft.certificate")


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

    While roots are rotated there are two generations of them (`weft.ca.rotation` says which signs and which are
    trusted); `changes` gets a new value whenever that, or an intermediate, has changed. `issued` and `refused` (by
    code) count since the start.
    """

    def __init__(
        self,
        slots: Slots,
        trust_domain: str,
        kept: Kept,
        generations: Mapping[int, Generation],
        clock: Clock,
        shared: SharedDirectory | None = None,
    ) -> None:
        self._shared = shared
        self.trust_domain = trust_domain
        self.issued = 0
        self.refused: Counter[str] = Counter()
        self.changes: Cell[Rotation] = Cell(kept.rotation)
        self._slots = slots
        self._kept = kept
        self._generations = dict(generations)
        self._clock = clock
        self._others: tuple[x509.Certificate, ...] = ()

    # what is trusted

    @property
    def rotation(self) -> Rotation:
        """Where the rotation of roots stands."""
        return self.changes.value

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The roots that are trusted now, those of the generation that signs first."""
        trusted = [root for number in self.rotation.trusted for root in self._generations[number].roots]
        return tuple(dict.fromkeys(trusted))

    @property
    def bundle(self) -> str:
        """The trust bundle: PEM of the roots."""
        return certificate_pem(*self.roots)

    @property
    def others(self) -> str:
        """PEM of the roots that vouch for workloads besides: those of the mesh's other source of identities. They prove
        nothing to the control plane itself."""
        return certificate_pem(*self._others)

    @property
    def workload_bundle(self) -> str:
        """PEM of `workload_roots`."""
        return certificate_pem(*self.workload_roots)

    @property
    def workload_roots(self) -> tuple[x509.Certificate, ...]:
        """All roots by which workloads prove themselves to each other."""
        return tuple(dict.fromkeys((*self.roots, *self._others)))

    def believe(self, others: Sequence[x509.Certificate]) -> None:
        """Have proxies believe these roots besides the authority's own."""
        self._others = tuple(others)
        self.changes.set(self.rotation)

    @property
    def public_roots(self) -> str:
        """The bundle, and the roots before it that the control plane can still be verified by: whoever was given the
        fingerprint of one of them finds it here."""
        former = "".join(link.former for link in self._links())
        return self.bundle + (FORMER_ROOTS + former if former else "")

    @property
    def fingerprint(self) -> str:
        """``sha256:HEX`` of the root certificate's DER, for agents on other hosts to pin."""
        generation = self._generations[self.rotation.serves]
        top = (generation.issuer.certificate, *generation.above)[-1]
        root = next((one for one in generation.roots if one.subject == top.issuer), generation.roots[0])
        return fingerprint_of(root.public_bytes(serialization.Encoding.DER))

    @property
    def wanted(self) -> Wanted:
        """What proxies should have in use now."""
        issuer = self._signing.issuer.certificate if self.rotation.wants_issuer else None
        trust = trust_digest(map(fingerprint_hex, self.workload_roots))
        return Wanted(trust, fingerprint_hex(issuer) if issuer is not None else "")

    def expiries(self) -> Mapping[str, float]:
        """When its own certificates end, in seconds since the epoch."""
        return {"root": self._signing.root_end, "intermediate": self._signing.issuer.not_after}

    @property
    def own_root(self) -> bool:
        """Whether weft has the key of the root that signs."""
        return self._signing.root_key is not None

    @property
    def generations(self) -> Mapping[int, Generation]:
        """The roots that there are, by number."""
        return self._generations

    # what is signed

    def issue(
        self,
        csr: str,
        identity: SpiffeId,
        proxy: str,
        ttl: float = DEFAULT_TTL,
        *,
        service: str = "",
        revision: str = "",
        trust: Trust = NO_TRUST,
        pod: str = "",
        owner: str = "",
    ) -> Issued:
        """A certificate for the *authenticated* `identity` and `proxy`, with the public key of `csr`.

        `ttl` in seconds is cut to 24 h and to the intermediate's own end. `service` and `revision` are the canonical
        ones of the proxy's workload, at most 63 letters, digits, ``-_.``. `trust` tells it from certificates that were
        issued before trust ended; `pod` is the uid of the Pod that it is for, `owner` the name of what made that.
        Raises CertificateRefusedError.
        """
        try:
            self._check_identity(identity, proxy)
            if pod and not is_pod_uid(pod):
                raise CertificateRefusedError("bad-subject", f"{pod[:80]!a} is no uid of a Pod")
            for text in (service, revision, owner):
                if not _NAME_PART.fullmatch(text):
                    raise CertificateRefusedError("bad-subject", f"{text[:80]!a} is no value of a label")
            key = public_key_from_request(csr, identity, proxy)
        except CertificateRefusedError as error:
            self.refused[error.code] += 1
            raise
        self.issued += 1
        subject = Subject(proxy, service, revision, str(trust), pod=pod, owner=owner)
        validity = self._validity(self._signing, ttl)
        chain = self._chain(self._signing, LeafParameters(identity, subject, key, validity), self._leaf_links())
        return Issued(chain, self.bundle, validity.not_before, validity.not_after, self.others)

    def issue_application(
        self, csr: str, identity: SpiffeId, proxy: str, ttl: float = DEFAULT_TTL, *, trust: Trust = NO_TRUST
    ) -> Issued:
        """A certificate for the application behind the *authenticated* `proxy`, with the public key of `csr`: it has
        the identity and no common name, so it is no proxy's. Raises CertificateRefusedError."""
        try:
            self._check_identity(identity, proxy)
            key = public_key_from_request(csr, identity, "")
        except CertificateRefusedError as error:
            self.refused[error.code] += 1
            raise
        self.issued += 1
        subject = Subject("", trust=str(trust), application=proxy)
        validity = self._validity(self._signing, ttl)
        chain = self._chain(self._signing, LeafParameters(identity, subject, key, validity), self._leaf_links())
        return Issued(chain, self.bundle, validity.not_before, validity.not_after, self.others)

    def server_certificate(self, hosts: Sequence[str], ttl: float = DEFAULT_TTL) -> ServerCertificate:
        """A new key and certificate for the control plane itself, valid for `hosts` (names or IP addresses)."""
        identity = SpiffeId(self.trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)
        subject = Subject(proxy_name(CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE), CONTROL_PLANE_ACCOUNT)
        names = tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", *hosts)))
        key = new_key()
        generation = self._generations[self.rotation.serves]
        validity = self._validity(generation, ttl)
        leaf = LeafParameters(identity, subject, key.public_key(), validity, names)
        chain = self._chain(generation, leaf, self._links(self.rotation.serves))
        return ServerCertificate(key_pem(key), chain, self.bundle, identity, validity.not_before, validity.not_after)

    def revocation_list(self, serials: Iterable[int]) -> str:
        """A revocation list with these serial numbers, PEM; empty without any. Empty as well while leaves of another
        intermediate, or of another source of identities, may be in use: there is no list of that one, without which all
        of them would be refused.
        """
        signer, now = self._signing.issuer, self._clock()
        root = self._signing.root
        first = root is not None and signer.not_before - root.not_before <= BACKDATED
        alone = first or now - signer.not_before >= DEFAULT_TTL
        if self.rotation.phase is not Phase.STEADY or not alone or self._others:
            return ""
        return build_revocation_list(signer, serials, now)

    # what is replaced

    async def change(self, work: Callable[[Authority], ResultT]) -> ResultT:
        """Have `work` replace something: here, or in all control planes that have this authority; there it may be
        called again, with an authority that knows what another one has replaced. What it raises changes nothing;
        OSError."""
        shared = self._shared
        if shared is None:
            return work(self)
        result = await shared.change(lambda copy: work(open_authority(copy, self.trust_domain, clock=self._clock)))
        self.reload()
        return result

    def reload(self) -> None:
        """Have in force what is in the files, which another control plane has changed. AuthorityError, and what there
        was stays in force."""
        kept, generations = _loaded(self._slots, self.trust_domain, self._clock)
        if kept == self._kept and _issuers(generations) == _issuers(self._generations):
            return
        self._kept, self._generations = kept, generations
        self.changes.set(kept.rotation)

    @property
    def due(self) -> bool:
        """Whether half the intermediate's life is over, and weft has the root's key."""
        signer = self._signing.issuer
        half = signer.not_before + (signer.not_after - signer.not_before) / 2
        return self.own_root and self._clock() >= half

    def rotate(self) -> bool:
        """Replace the intermediate if half its life is over and weft has the root's key; whether it did.

        Certificates signed by the old one stay valid: they carry it in their chain and end before it does.
        """
        number, generation = self.rotation.signs, self._signing
        root = generation.root
        if root is None or not self.due:
            return False
        fresh = intermediate_under(root, self.trust_domain, self._clock())
        self.replace_issuer(number, Generation(generation.roots, fresh, (), generation.root_key))
        return True

    def replace_issuer(self, number: int, generation: Generation) -> None:
        """Put another intermediate of the same roots in force."""
        self._slots.write_issuer(number, generation.issuer, generation.above)
        self._generations[number] = generation
        self.changes.set(self.rotation)

    def begin_rotation(self, generation: Generation | None = None, overlap: float = 0.0) -> None:
        """Begin to rotate to `generation`, or to a new root that weft makes. RotationError if it cannot be now."""
        now = self._clock()
        number = max(self.rotation.source, self.rotation.target) + 1
        began = begin(self.rotation, number, now, overlap)
        fresh = generation or new_generation(self.trust_domain, now)
        self._slots.write(number, fresh)
        link = new_link(number, self._signing, fresh)
        self._generations[number] = fresh
        self._put(began, ((link,) if link is not None else ()) + self._kept.links)

    def check_rotation(self) -> None:
        """RotationError if none can begin now."""
        begin(self.rotation, self.rotation.target + 1, self._clock(), 0.0)

    def check_abort(self) -> None:
        """RotationError if there is none that could be taken back."""
        abort(self.rotation, self._clock())

    def abort_rotation(self) -> None:
        """Take the rotation back. RotationError if it is too late."""
        self._put(abort(self.rotation, self._clock()), self._kept.links)

    def move(self, rotation: Rotation) -> None:
        """Keep and put in force the next state of the rotation."""
        links = self._kept.links
        if rotation.phase is Phase.STEADY:  # of a root that was taken back nothing is left
            links = tuple(link for link in links if link.generation <= rotation.target)
        self._put(rotation, links)

    def _put(self, rotation: Rotation, links: tuple[Link, ...]) -> None:
        now = self._clock()
        kept = Kept(
            rotation.phase.value,
            rotation.source,
            rotation.target,
            rotation.since,
            rotation.overlap,
            rotation.epoch,
            rotation.returning,
            tuple(link for link in links if link.end > now),
            self.trust_domain,
        )
        self._slots.keep(kept)
        self._kept = kept
        self._generations = {number: self._generations[number] for number in {kept.source, kept.target}}
        self.changes.set(rotation)

    @property
    def slots(self) -> Slots:
        """Its files."""
        return self._slots

    # how

    @property
    def _signing(self) -> Generation:
        return self._generations[self.rotation.signs]

    def _leaf_links(self) -> tuple[Link, ...]:
        """What workloads show with their certificates while some peers know the former root only."""
        linked = self.rotation.phase is Phase.ISSUING and not self.rotation.returning
        return self._links(self.rotation.signs)[:1] if linked else ()

    def _links(self, number: int | None = None) -> tuple[Link, ...]:
        """Links to former roots that still hold, from generation `number` (default: the one that serves) on."""
        return chain_links(self._kept.links, self.rotation.serves if number is None else number, self._clock())

    @staticmethod
    def _chain(generation: Generation, leaf: LeafParameters, links: tuple[Link, ...]) -> str:
        certificate = build_leaf(generation.issuer, leaf)
        issuer = generation.issuer.certificate
        return certificate_pem(certificate, issuer, *generation.above) + "".join(link.link for link in links)

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

    def _validity(self, generation: Generation, ttl: float) -> Validity:
        now = self._clock()
        end = min(now + min(max(ttl, MINIMUM_TTL), DEFAULT_TTL), generation.issuer.not_after, generation.root_end)
        return Validity(float(int(now - BACKDATED)), float(int(end)))


def open_authority(
    directory: Path,
    trust_domain: str = DEFAULT_TRUST_DOMAIN,
    *,
    clock: Clock = time.time,
    shared: SharedDirectory | None = None,
) -> Authority:
    """The CA in `directory`, made if it is not there. With `shared` other control planes have the same directory, and
    it is replaced by `Authority.change` only. Raises AuthorityError if its files are open to others, damaged, expired,
    or made for another trust domain."""
    slots = Slots(directory)
    kept, generations = _loaded(slots, trust_domain, clock)
    authority = Authority(slots, trust_domain, kept, generations, clock, shared)
    if shared is None:
        authority.rotate()
    return authority


def _loaded(slots: Slots, trust_domain: str, clock: Clock) -> tuple[Kept, dict[int, Generation]]:
    """What the files say. AuthorityError."""
    try:
        slots.prepare()
        kept = slots.state()
        slots.remove_others((kept.source, kept.target))
        rotation = kept.rotation
        generations = {}
        for number in {rotation.source, rotation.target}:
            generation = load_generation(slots, number, trust_domain, kept.trust_domain, clock())
            if generation is None:
                generation = _first(slots, number, trust_domain, clock())
            generations[number] = generation
    except (PermissionsError, OSError) as error:
        raise AuthorityError(f"cannot use the CA: {error}") from error
    if generations[rotation.serves].root_end <= clock():
        raise AuthorityError(CA_EXPIRED.format(directory=slots.directory))
    return kept, generations


def _issuers(generations: Mapping[int, Generation]) -> dict[int, tuple[x509.Certificate, ...]]:
    return {number: (*one.roots, one.issuer.certificate, *one.above) for number, one in generations.items()}


def _first(slots: Slots, number: int, trust_domain: str, now: float) -> Generation:
    """A root that weft makes, unless another one is awaited."""
    if number > 1:
        raise AuthorityError(f"{slots.directory} has no root of generation {number}; restore it from a backup")
    if slots.request_key() is not None:
        raise AuthorityError(
            f"the CA in {slots.directory} waits for the answer to its request: weft ca install CHAIN.pem --root "
            "ROOT.pem (or, for a root that weft makes: weft ca csr --cancel)"
        )
    generation = new_generation(trust_domain, now)
    slots.write(number, generation)
    return generation


async def run_rotation(
    authority: Authority,
    leads: Callable[[], bool] = lambda: True,
    *,
    interval: float = 3600.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Rotate the intermediate when it is due, for ever: of several that have the authority the one that `leads`."""
    while True:
        await sleep(interval)
        try:
            if authority.due and leads():
                await authority.change(lambda one: one.rotate())
        except (OSError, AuthorityError, PermissionsError) as error:
            # A full disk, or files that somebody has damaged for all; half of the intermediate's life is left
            _log.warning("the intermediate certificate cannot be replaced, trying again: %s", error)


def fingerprint_of(der: bytes) -> str:
    """How a root certificate is pinned: ``sha256:HEX`` of its DER."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def fingerprint_hex(certificate: x509.Certificate) -> str:
    """SHA-256 of its DER, in hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
