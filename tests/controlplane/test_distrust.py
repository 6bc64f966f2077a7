"""What is forgotten of certificates: by one of the control planes that have a store."""

from __future__ import annotations

import asyncio

import pytest

from weft.ca.issued import BUCKET, Certificate, list_certificates, put_certificate
from weft.controlplane.distrust import DistrustKeeper
from weft.model.snapshot import MeshSettings
from weft.sources.collector import Collector
from weft.store.memory import MemoryStore

NOW = 1_800_000_000.0


class EnoughError(Exception):
    """The keeper has looked as often as the test wants."""


@pytest.mark.parametrize(("leads", "left"), [(False, {"default/shop"}), (True, set())])
async def test_who_leads_forgets_what_has_expired(leads: bool, left: set[str]) -> None:
    store = MemoryStore()
    expired = Certificate("1", "shop", "", NOW - 20, NOW - 10)
    await store.write([put_certificate(None, "default/shop", expired, NOW - 15)])

    async def sleep(_: float) -> None:
        raise EnoughError

    keeper = DistrustKeeper(store, Collector([], MeshSettings()), lambda: leads, clock=lambda: NOW, sleep=sleep)
    with pytest.raises(EnoughError):
        await asyncio.wait_for(keeper.run(), 10)
    assert set(await list_certificates(store, BUCKET)) == left
