"""The control plane's own certificate is renewed at half of its life, however short that is."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from click import FloatRange

from weft.ca.authority import BACKDATED, DEFAULT_TTL, MINIMUM_TTL, open_authority
from weft.cli.serve import serve
from weft.controlplane.certificate import ServerCertificates


@pytest.mark.parametrize("ttl", [MINIMUM_TTL, 60.0, DEFAULT_TTL])
async def test_it_is_renewed_at_half_of_what_is_left(tmp_path: Path, ttl: float) -> None:
    now = 1_800_000_000.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    authority = open_authority(tmp_path / "ca", clock=lambda: now)
    certificates = ServerCertificates(authority, (), tmp_path, ttl, lambda: now, sleep)
    assert certificates.renewal - now == pytest.approx(ttl / 2, abs=1)
    running = asyncio.create_task(certificates.run())
    made = [now]
    for version in range(4):
        await certificates.current.changed(version)
        made.append(certificates.current.value.not_before + BACKDATED)
    assert [after - before for before, after in pairwise(made)] == pytest.approx([ttl / 2] * 4, abs=3)
    running.cancel()


def test_no_life_is_taken_that_the_authority_does_not_give() -> None:
    (option,) = [one for one in serve.params if one.name == "certificate_ttl"]
    assert isinstance(option.type, FloatRange)
    assert (option.type.min, option.type.max) == (MINIMUM_TTL, DEFAULT_TTL)
