"""`weft down`: end the `weft up` of a home, or what a killed one has left."""

from __future__ import annotations

import contextlib
import os
import signal

from weft.local.record import HomeTaken, UpRecord, owner_of, stop_remains
from weft.processes.stop import wait_now
from weft.settings.home import Home

_PATIENCE = 120.0


def stop_mesh(home: Home) -> tuple[str, bool]:
    """Stop what is up in `home`; what was done, in words, and whether that has ended it. Blocks."""
    owner = owner_of(home)
    if owner is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGTERM)
        wait_now(owner, _PATIENCE)
        return ("still stopping", False) if owner.alive else ("stopped", True)
    nothing = f"nothing is up in {home.root}"
    if not home.root.is_dir():
        return nothing, True
    record = UpRecord(home)
    try:
        record.take()
    except HomeTaken:
        return stop_mesh(home)
    try:
        remains = stop_remains(record)
    finally:
        record.release()
    return f"ended what a killed run has left: {', '.join(remains)}" if remains else nothing, True
