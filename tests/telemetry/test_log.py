"""Lines for the journal: each with its priority, without the time and the name that the journal has."""

from __future__ import annotations

import os
import subprocess
import sys

_SAYS = """
import logging, os, sys
from weft.telemetry.log import set_up_logging
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino + SHIFT}"
set_up_logging("weft run web", timed=TIMED)
log = logging.getLogger("weft.x")
log.info("started")
log.warning("two\\nlines\\x1b[31m")
log.error("bad")
"""


def said(*, shift: int, timed: bool) -> list[str]:
    text = _SAYS.replace("SHIFT", str(shift)).replace("TIMED", str(timed))
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    return done.stderr.splitlines()


def test_the_journal_gets_priorities() -> None:
    assert said(shift=0, timed=True) == ["<6>weft.x: started", "<4>weft.x: two", "<4>lines\\x1b[31m", "<3>weft.x: bad"]
    assert said(shift=0, timed=False) == ["<6>started", "<4>two", "<4>lines\\x1b[31m", "<3>bad"]


def test_another_stream_is_for_people() -> None:
    assert said(shift=1, timed=False)[0] == "weft run web: started"
    assert said(shift=1, timed=True)[0].endswith("Z INFO weft.x: started")
