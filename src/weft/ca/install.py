"""The request for an intermediate, and its answer put in force: at once under the same root, else by a rotation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weft.ca.authority import Authority, fingerprint_hex
from weft.ca.brought import Pem, build_brought
from weft.ca.certificates import build_request, new_key, private_key_from_pem
from weft.ca.protocol import AuthorityError, PrivateKey
from weft.ca.rotation import Phase, RotationError
from weft.ca.slots import Generation, Kept, Slots
from weft.settings.private import PermissionsError

Clock = Callable[[], float]


def request_for_intermediate(slots: Slots, trust_domain: str) -> str:
    """The PEM request whose key stays in the directory; the same key again until it is answered or cancelled."""
    key = slots.request_key()
    if key is None:
        key = new_key()
        slots.write_request(key)
    return build_request(key, trust_domain)


def brought_key(slots: Slots, key: Pem | None) -> PrivateKey:
    """The key of what is installed: the one given, else that of the request."""
    if key is not None:
        try:
            return private_key_from_pem(key.text)
        except ValueError as error:
            raise AuthorityError(f"{key.name}: {error}; expected an unencrypted private key in PEM") from error
    found = slots.request_key()
    if found is None:
        raise AuthorityError("there is no key for this certificate: weft ca csr makes a request, or give it with --key")
    return found


@dataclass(frozen=True, slots=True)
class Brought:
    """What was brought, found good. `rotates`: its root is another one, which begins a rotation; `root` names it.
    `answers`: it answers the request for an intermediate."""

    generation: Generation
    rotates: bool
    root: str
    answers: bool


def checked(authority: Authority, chain: Pem, roots: Pem | None, key: Pem | None, now: float) -> Brought:
    """What was brought for a running mesh, if it can be put in force now. AuthorityError, RotationError."""
    private = brought_key(authority.slots, key)
    generation = build_brought(chain, roots, private, authority.trust_domain, now)
    authority.check_rotation()
    root = f"sha256:{fingerprint_hex(generation.roots[0])}"
    return Brought(generation, _rotates(authority, generation), root, key is None)


def install_checked(authority: Authority, brought: Brought, overlap: float) -> None:
    """Put what was brought in force in a running mesh."""
    put_in_force(authority, brought.generation, overlap)
    if brought.answers:
        authority.slots.remove_request()


def install(authority: Authority, chain: Pem, roots: Pem | None, key: Pem | None, now: float, overlap: float) -> bool:
    """Both at once; whether the root changes, which begins a rotation."""
    brought = checked(authority, chain, roots, key, now)
    install_checked(authority, brought, overlap)
    return brought.rotates


def _rotates(authority: Authority, generation: Generation) -> bool:
    return set(authority.generations[authority.rotation.target].roots) != set(generation.roots)


def put_in_force(authority: Authority, generation: Generation, overlap: float) -> bool:
    """A generation that was checked; whether its root is another one, which begins a rotation."""
    rotation = authority.rotation
    current = authority.generations[rotation.target]
    if not _rotates(authority, generation):
        if rotation.phase is not Phase.STEADY:
            raise RotationError(f"a rotation is under way ({rotation.phase}); wait for its end (weft ca status)")
        issuer, above = generation.issuer, generation.above
        authority.replace_issuer(rotation.target, Generation(current.roots, issuer, above, current.root_key))
        return False
    authority.begin_rotation(generation, overlap)
    return True


def install_first(
    directory: Path, chain: Pem, roots: Pem | None, key: Pem | None, trust_domain: str, clock: Clock = time.time
) -> None:
    """The first roots of a mesh, before its control plane runs. AuthorityError if there are some already."""
    slots = Slots(directory)
    try:
        slots.prepare()
        if slots.roots(slots.state().target) is not None:
            raise AuthorityError(f"{directory} has roots already; start the control plane (weft serve), then repeat")
        generation = build_brought(chain, roots, brought_key(slots, key), trust_domain, clock())
        slots.write(1, generation)
        slots.keep(Kept(since=clock(), trust_domain=trust_domain))
        slots.remove_request()
    except (PermissionsError, OSError) as error:
        raise AuthorityError(f"cannot use the CA: {error}") from error
