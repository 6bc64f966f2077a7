"""The control plane's own certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.ca.authority import open_authority
from weft.controlplane.certificate import ServerCertificates

NOW = 1_800_000_000.0


@pytest.mark.parametrize("ttl", [40.0, 86_400.0])
def test_it_is_renewed_at_half_its_life_however_short(ttl: float, tmp_path: Path) -> None:
    directory = tmp_path / "control-plane"
    directory.mkdir(mode=0o700)
    authority = open_authority(tmp_path / "ca", clock=lambda: NOW)
    certificates = ServerCertificates(authority, (), directory, ttl, clock=lambda: NOW)
    assert certificates.renewal == NOW + ttl / 2
