"""Half a minute of trouble on purpose: no request fails, no page lacks anything, nothing is left."""

from __future__ import annotations

import pytest
from chaos.__main__ import run


@pytest.mark.timeout(400)
def test_no_request_fails_whatever_ends_and_changes() -> None:
    journal, wrong = run(seconds=30, seed=6, rate=20)
    assert not wrong, wrong
    assert not journal.failures, "\n".join(map(journal.told, journal.failures[:5]))
    assert {"edits", "agents", "workloads", "control planes", "returns"} <= set(journal.done)
    assert set(journal.answers) == {"200"}
