"""The control plane's own certificate is renewed at half of its life, however short that is."""

from __future__ import annotations

import asyncio
import errno
from itertools import pairwise
from pathlib import Path

import pytest
from click import FloatRange

from weft.ca.authority import BACKDATED, DEFAULT_TTL, INTERMEDIATE_LIFE, MINIMUM_TTL, open_authority, run_rotation
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


class Enough(Exception):  # noqa: N818
    """It has tried often enough."""


async def test_a_full_disk_does_not_end_the_control_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, failures = 1_800_000_000.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if failures >= 3:
            raise Enough

    def full(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise OSError(errno.ENOSPC, "no space left on device")

    authority = open_authority(tmp_path / "ca", clock=lambda: now)
    certificates = ServerCertificates(authority, (), tmp_path, 3600.0, lambda: now, sleep)
    first = certificates.current.value
    monkeypatch.setattr("os.open", full)
    with pytest.raises(Enough):
        await certificates.run()
    assert certificates.current.value is first
    assert now < first.not_after, "it tries in time"
    now, failures = now + INTERMEDIATE_LIFE, 0
    with pytest.raises(Enough):
        await run_rotation(authority, interval=1.0, sleep=sleep)


def test_no_life_is_taken_that_the_authority_does_not_give() -> None:
    (option,) = [one for one in serve.params if one.name == "certificate_ttl"]
    assert isinstance(option.type, FloatRange)
    assert (option.type.min, option.type.max) == (MINIMUM_TTL, DEFAULT_TTL)
