"""Intermediates of an authority that takes its time: what counts is when it has signed."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest

from conformance.test_authority import Outside, new_key
from weft.ca.authority import open_authority
from weft.ca.protocol import AuthorityError, Signed
from weft.ca.upstream import first_from, renew_from

DOMAIN = "cluster.local"
LIFE = 30 * 86400.0
WAITED = 300.0


class Approved:
    """It signs when a person has approved, as cert-manager: what it signs is good from then on."""

    name = "a signer"

    def __init__(self) -> None:
        self._root = Outside(1, new_key())
        self.now = time.time() - WAITED - 1
        self.takes = WAITED

    def clock(self) -> float:
        return self.now

    async def sign(self, csr: str, life: float) -> Signed:
        """For `life`, or more."""
        assert life <= LIFE
        self.now += self.takes
        chain = self._root.sign(csr, datetime.timedelta(seconds=time.time() - self.now))
        return Signed(chain.text, self._root.root.text)

    async def roots(self) -> str:
        """The one."""
        return self._root.root.text


async def test_what_was_signed_after_a_wait_is_good(tmp_path: Path) -> None:
    signer = Approved()
    await first_from(signer, tmp_path / "ca", DOMAIN, LIFE, signer.clock)
    mesh = open_authority(tmp_path / "ca", DOMAIN)
    before = mesh.generations[mesh.rotation.target].issuer.certificate
    signer.now -= WAITED
    assert not await renew_from(signer, mesh, LIFE, signer.clock)
    assert mesh.generations[mesh.rotation.target].issuer.certificate != before


async def test_what_is_good_from_tomorrow_on_is_not(tmp_path: Path) -> None:
    signer = Approved()
    signer.now, signer.takes = time.time() + 86400, 0.0
    with pytest.raises(AuthorityError, match="not now"):
        await first_from(signer, tmp_path / "ca", DOMAIN, LIFE)
