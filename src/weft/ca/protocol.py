"""The protocol of certificate authorities: who signs the intermediate with which weft issues.

Whoever holds the root, workloads' certificates are signed by an intermediate whose key this control plane made or was
given (ADR 0075): so a certificate never says more than the authenticated identity, and an authority that does not
answer stops nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class AuthorityError(Exception):
    """The authority cannot be used; the message says what was found and what to do."""


class AuthorityUnavailableError(AuthorityError):
    """An authority behind a network does not answer now, or cannot; asking later may help."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed intermediate as PEM: its chain, its own certificate first, and the roots that it leads to."""

    chain: str
    roots: str


class Upstream(Protocol):
    """Who signs intermediates over a network. Every call has a deadline.

    AuthorityUnavailableError if asking later may help, AuthorityError if not. What comes back is checked by the caller.
    """

    @property
    def name(self) -> str:
        """What it is and where, for messages."""

    async def sign(self, csr: str, life: float) -> Signed:
        """Sign the intermediate that the PEM request `csr` asks for, for `life` seconds or fewer."""

    async def roots(self) -> str:
        """The roots that it signs under now, as PEM."""
