"""What becomes of imports, as metrics and in the audit."""

from __future__ import annotations

import time
from collections.abc import Iterable

from weft.admin.audit import Audit
from weft.controlplane.instruments import Instruments
from weft.telemetry.metrics import Family, gauge


class ImportEvents:
    """The listener of every import (`weft.sources.imports.source.Listener`)."""

    def __init__(self, audit: Audit, instruments: Instruments) -> None:
        self._audit = audit
        self._failures = instruments.registry.counter(
            "weft_import_failures_total", "Times that an import could not be read.", "import"
        )
        self._read: dict[tuple[str, ...], float] = {}
        self._services: dict[tuple[str, ...], float] = {}
        self._instances: dict[tuple[str, ...], float] = {}
        self._up: dict[tuple[str, ...], float] = {}
        instruments.registry.read(self._families)

    def read(self, name: str, services: int, instances: int) -> None:
        """See `Listener`."""
        self._read[(name,)], self._up[(name,)] = time.time(), 1.0
        self._services[(name,)], self._instances[(name,)] = services, instances

    def failed(self, name: str, error: str, *, first: bool) -> None:
        """See `Listener`."""
        self._up[(name,)] = 0.0
        self._failures.add(name)
        if first:
            self._audit.refused(f"import/{name}", "import", "import-unread", error)

    def recovered(self, name: str) -> None:
        """See `Listener`."""
        self._up[(name,)] = 1.0

    def _families(self) -> Iterable[Family]:
        if not self._up:
            return
        yield gauge("weft_import_up", "Whether an import could be read when it was tried last.", self._up, "import")
        text = "When an import has last said something new, in seconds since the epoch."
        yield gauge("weft_import_read_timestamp_seconds", text, self._read, "import")
        yield gauge("weft_import_services", "Services of an import.", self._services, "import")
        yield gauge("weft_import_instances", "Instances of an import.", self._instances, "import")
