"""Certificates brought by others for the mesh's authority: read, checked, and put together to a generation.

What is found wrong is said with the file and what was found there. Nothing is put in force before all of it is right.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from weft.ca.certificates import Signer, trust_domain_of
from weft.ca.protocol import AuthorityError, PrivateKey
from weft.ca.slots import Generation

SHORTEST_LIFE = 24 * 3600.0
"""What is left of an intermediate has to last as long as a certificate of a workload may."""
MAX_CHAIN = 5
_CURVES = ("secp256r1", "secp384r1")
_RSA_BITS = 2048
_URI = x509.UniformResourceIdentifier


@dataclass(frozen=True, slots=True)
class Pem:
    """A text with certificates, and where it is from, for messages."""

    name: str
    text: str

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """All in it. AuthorityError if there is none."""
        try:
            found = x509.load_pem_x509_certificates(self.text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AuthorityError(f"{self.name}: expected certificates in PEM, found none that can be read") from error
        return tuple(found)


def build_brought(chain: Pem, roots: Pem | None, key: PrivateKey, trust_domain: str, now: float) -> Generation:
    """The generation of a `chain` (the certificate of `key` first, then those above it) and the `roots` it leads to;
    without `roots`, those are the last of the chain. AuthorityError says what is wrong with which file."""
    certificates = chain.certificates()
    ordered, found = _split(chain.name, certificates, roots)
    issuer = ordered[0]
    name = f"{chain.name}: {_subject(issuer)}"
    if key.public_key() != issuer.public_key():
        raise AuthorityError(f"{name} is not the certificate of the key; expected it first in the file")
    root = _verified(chain.name, ordered, found, now)
    path = ordered if root in ordered else (*ordered, root)
    for depth, one in enumerate(path):
        _check_ca(f"{chain.name}: {_subject(one)}", one, depth)
        _check_purposes(f"{chain.name}: {_subject(one)}", one)
        _check_key(f"{chain.name}: {_subject(one)}", one)
        _check_names(f"{chain.name}: {_subject(one)}", one, trust_domain)
    left = issuer.not_valid_after_utc.timestamp() - now
    if left < SHORTEST_LIFE:
        raise AuthorityError(
            f"{name} ends in {left / 3600:.1f} h; expected 24 h at least, the longest life of a workload's certificate"
        )
    above = tuple(one for one in ordered[1:] if one not in found)
    return Generation(found, Signer(key, issuer), above)


def _split(
    name: str, certificates: tuple[x509.Certificate, ...], roots: Pem | None
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """The chain, and the roots, which stand in a file of their own or at the chain's end."""
    if len(certificates) > MAX_CHAIN:
        raise AuthorityError(f"{name}: {len(certificates)} certificates; expected {MAX_CHAIN} at most")
    if roots is not None:
        found = roots.certificates()
        for root in found:
            if root.subject != root.issuer:
                raise AuthorityError(
                    f"{roots.name}: {_subject(root)} is no root: {root.issuer.rfc4514_string()} signed it"
                )
        return certificates, found
    last = certificates[-1]
    if last.subject != last.issuer:
        raise AuthorityError(f"{name}: its last certificate, {_subject(last)}, is no root; give the root with --root")
    return certificates, (last,)


def _verified(
    name: str, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: float
) -> x509.Certificate:
    """The root that the chain leads to; every certificate signed by the next, and valid now."""
    for one, above in itertools.pairwise(chain):
        if not _signed_by(one, above):
            raise AuthorityError(f"{name}: {_subject(one)} is not signed by the next in the file, {_subject(above)}")
    for one in (*chain, *roots):
        begin, end = one.not_valid_before_utc, one.not_valid_after_utc
        if not begin.timestamp() <= now < end.timestamp():
            raise AuthorityError(f"{name}: {_subject(one)} is valid from {_day(begin)} to {_day(end)}, not now")
    last = chain[-1]
    for root in roots:
        if last == root or _signed_by(last, root):
            return root
    raise AuthorityError(
        f"{name}: {_subject(last)} is signed by {last.issuer.rfc4514_string()}, which is none of the given roots"
    )


def _check_ca(name: str, certificate: x509.Certificate, depth: int) -> None:
    """It may sign certificates, with `depth` intermediates below it."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise AuthorityError(f"{name} has no basic constraints; expected CA:true") from None
    if not basic.ca:
        raise AuthorityError(f"{name} is CA:false; expected the certificate of an authority")
    if basic.path_length is not None and basic.path_length < depth:
        raise AuthorityError(
            f"{name} has path length {basic.path_length}, and {depth} authorities below it; expected {depth} or more"
        )


def _check_purposes(name: str, certificate: x509.Certificate) -> None:
    """Where a key is bound to uses and purposes, it may sign certificates, for servers and for clients."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.key_cert_sign:
        raise AuthorityError(f"{name} may not sign certificates; expected the key usage keyCertSign")
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    needed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if not needed <= set(purposes) and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in purposes:
        raise AuthorityError(f"{name} is bound to other purposes; expected serverAuth and clientAuth, or none named")


def _check_key(name: str, certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise AuthorityError(f"{name} has a key on {key.curve.name}; expected P-256 or P-384")
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS:
            raise AuthorityError(f"{name} has an RSA key of {key.key_size} bits; expected {_RSA_BITS} at least")
    else:
        raise AuthorityError(f"{name} has a key of another kind; expected P-256, P-384 or RSA")
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name not in ("sha256", "sha384", "sha512"):
        raise AuthorityError(f"{name} is signed with {algorithm.name if algorithm else 'no hash'}; expected SHA-256")


def _check_names(name: str, certificate: x509.Certificate, trust_domain: str) -> None:
    """It is for this trust domain, if it says for which, and its name constraints let workloads' names through."""
    own = trust_domain_of(certificate)
    if own and own != trust_domain:
        raise AuthorityError(f"{name} is for trust domain '{own}'; this mesh is '{trust_domain}'")
    try:
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted = [one.value for one in limits.permitted_subtrees or () if isinstance(one, _URI)]
    excluded = [one.value for one in limits.excluded_subtrees or () if isinstance(one, _URI)]
    if permitted and not any(_within(trust_domain, one) for one in permitted):
        raise AuthorityError(
            f"{name} permits names of {', '.join(permitted)} only; expected the trust domain '{trust_domain}'"
        )
    if any(_within(trust_domain, one) for one in excluded):
        raise AuthorityError(f"{name} excludes names of the trust domain '{trust_domain}'")
    if any(isinstance(one, x509.DNSName | x509.IPAddress) for one in limits.permitted_subtrees or ()):
        raise AuthorityError(
            f"{name} permits some hosts only; expected no such limit: the control plane's certificate has localhost"
        )


def _within(host: str, constraint: str) -> bool:
    """RFC 5280, 4.2.1.10: a host, or with a dot in front all hosts below it."""
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _signed_by(one: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _subject(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string()[:120]}'"


def _day(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
