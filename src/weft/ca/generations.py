"""Generations of roots: made by weft, read from disk, and linked to the one before."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from weft.ca.certificates import (
    Signer,
    Validity,
    build_intermediate,
    build_link,
    build_root,
    certificate_pem,
    trust_domain_of,
)
from weft.ca.protocol import AuthorityError
from weft.ca.slots import Generation, Link, Slots

BACKDATED = 600.0
"""Seconds by which certificates begin before they are made: hosts whose clocks are so far behind take them at once."""
_DAY = 24 * 3600.0
ROOT_LIFE = 3652 * _DAY
INTERMEDIATE_LIFE = 365 * _DAY
CA_EXPIRED = "the root certificate in {directory} has expired; move the directory away"


def new_generation(trust_domain: str, now: float) -> Generation:
    """A new root and an intermediate under it."""
    root = build_root(trust_domain, Validity(now - BACKDATED, now + ROOT_LIFE))
    return Generation((root.certificate,), intermediate_under(root, trust_domain, now), (), root.key)


def intermediate_under(root: Signer, trust_domain: str, now: float) -> Signer:
    """A new intermediate of `root`."""
    return build_intermediate(
        root, trust_domain, Validity(now - BACKDATED, min(now + INTERMEDIATE_LIFE, root.not_after))
    )


def load_generation(slots: Slots, number: int, trust_domain: str, made_for: str, now: float) -> Generation | None:
    """A generation from disk; None if there is none. An intermediate that is missing, expired or another root's is made
    anew if weft has the root's key. `made_for` is the trust domain for which roots are that do not say it."""
    found = slots.roots(number)
    if found is None:
        return None
    roots, key = found
    _check_trust_domain(slots, roots[0], trust_domain, made_for)
    read = slots.issuer(number)
    root = Signer(key, roots[0]) if key is not None else None
    if read is not None and (root is None or (read[0].not_after > now and _signed_by(read[0].certificate, root))):
        issuer, above = read
        if issuer.not_after <= now:
            raise AuthorityError(
                f"the intermediate certificate in {slots.directory} has expired: weft ca csr makes a request for a new "
                "one, weft ca install puts it in force"
            )
        return Generation(roots, issuer, above, key)
    if root is None:
        raise AuthorityError(f"{slots.directory} has a root without an intermediate; restore it from a backup")
    if root.not_after <= now:
        raise AuthorityError(CA_EXPIRED.format(directory=slots.directory))
    issuer = intermediate_under(root, trust_domain, now)
    slots.write_issuer(number, issuer, ())
    return Generation(roots, issuer, (), key)


def new_link(number: int, former: Generation, fresh: Generation) -> Link | None:
    """The link from generation `number` back to the one before; None if weft does not have the keys of both roots."""
    old, new = former.root, fresh.root
    if old is None or new is None or old.certificate.subject != new.certificate.subject:
        return None
    link = build_link(old, new.certificate)
    return Link(number, certificate_pem(old.certificate), certificate_pem(link))


def chain_links(links: Sequence[Link], number: int, now: float) -> tuple[Link, ...]:
    """The unbroken line of links from generation `number` back, as far as they hold."""
    chosen: list[Link] = []
    for link in sorted(links, key=lambda one: -one.generation):
        wanted = number - len(chosen)
        if link.generation == wanted and link.end > now:
            chosen.append(link)
    return tuple(chosen)


def _check_trust_domain(slots: Slots, root: x509.Certificate, trust_domain: str, made_for: str) -> None:
    found = trust_domain_of(root) or made_for
    if found != trust_domain:
        raise AuthorityError(
            f"the CA in {slots.directory} is that of trust domain '{found}', not of '{trust_domain}'; "
            "use another --home or the former trust domain"
        )


def _signed_by(certificate: x509.Certificate, root: Signer) -> bool:
    try:
        certificate.verify_directly_issued_by(root.certificate)
    except Exception:  # cryptography raises several unrelated types here
        return False
    return True
