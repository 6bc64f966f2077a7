"""What every test may rely on, however the run was started."""

from __future__ import annotations

import signal

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell does that to its background jobs, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
