"""What every test may rely on, however the run was started."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell does that to its background jobs, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_act_as_before() -> Iterator[None]:
    """A test that leaves signals blocked would make every process started later deaf to its stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert after == before, f"signals left blocked: {after - before}"
