"""An intermediate from an upstream authority: asked for, checked, put in force; the first one before a mesh runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from weft.ca.authority import Authority
from weft.ca.brought import Pem, build_brought
from weft.ca.certificates import build_request, new_key
from weft.ca.install import put_in_force
from weft.ca.protocol import AuthorityError, Upstream
from weft.ca.rotation import PATIENCE
from weft.ca.slots import Generation, Kept, Slots
from weft.settings.private import PermissionsError

Clock = Callable[[], float]


async def signed_generation(upstream: Upstream, trust_domain: str, life: float, clock: Clock) -> Generation:
    """A new key, certified by `upstream`. AuthorityError if it does not, or if what it says is not usable when it has
    said it: it may take its time, and certify from then on."""
    key = new_key()
    signed = await upstream.sign(build_request(key, trust_domain), life)
    chain, roots = Pem(upstream.name, signed.chain), Pem(upstream.name, signed.roots)
    return build_brought(chain, roots, key, trust_domain, clock())


async def renew_from(upstream: Upstream, authority: Authority, life: float, clock: Clock = time.time) -> bool:
    """A new intermediate for a running mesh; whether the root is another one now, which begins a rotation."""
    before = authority.generations[authority.rotation.target].issuer.certificate
    generation = await signed_generation(upstream, authority.trust_domain, life, clock)

    def put(one: Authority) -> bool:
        """Unless another control plane was faster."""
        current = one.generations[one.rotation.target].issuer.certificate
        return current == before and put_in_force(one, generation, PATIENCE)

    return await authority.change(put)


async def first_from(
    upstream: Upstream, directory: Path, trust_domain: str, life: float, clock: Clock = time.time
) -> None:
    """The first intermediate, unless there are roots already. AuthorityError if it cannot be had."""
    slots = Slots(directory)
    try:
        slots.prepare()
        if slots.roots(slots.state().target) is not None:
            return
        generation = await signed_generation(upstream, trust_domain, life, clock)
        slots.write(1, generation)
        slots.keep(Kept(since=clock(), trust_domain=trust_domain))
    except (PermissionsError, OSError) as error:
        raise AuthorityError(f"cannot use the CA: {error}") from error
