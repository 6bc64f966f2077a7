"""Imports as metrics and in the audit of the control plane."""

from __future__ import annotations

from weft.admin.audit import Audit
from weft.controlplane.imports import ImportEvents
from weft.controlplane.instruments import Instruments
from weft.store.memory import MemoryStore
from weft.telemetry.metrics import text_of


async def test_an_outage_is_counted_and_recorded_once() -> None:
    store, instruments = MemoryStore(), Instruments()
    audit = Audit(store)
    events = ImportEvents(audit, instruments)
    assert "weft_import_up" not in text_of(instruments.registry.families()), "nothing is told where nothing is imported"
    events.read("consul", 2, 7)
    for first in (True, False):
        events.failed("consul", "it answers 500", first=first)
    told = text_of(instruments.registry.families())
    assert 'weft_import_up{import="consul"} 0' in told
    assert 'weft_import_failures_total{import="consul"} 2' in told
    assert 'weft_import_instances{import="consul"} 7' in told
    assert 'weft_import_services{import="consul"} 2' in told
    events.recovered("consul")
    assert 'weft_import_up{import="consul"} 1' in text_of(instruments.registry.families())
    await audit.flush()
    [event] = await audit.events()
    assert (event.who, event.action, event.detail) == ("import/consul", "import", "import-unread: it answers 500")
