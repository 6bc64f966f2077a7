"""Looks: a wait is hardly longer for them, and they are few."""

from __future__ import annotations

import pytest

from weft.aio.looks import next_look


@pytest.mark.parametrize("there", [0.02, 0.3, 1.3, 4.0, 19.0, 100.0])
def test_what_is_there_is_seen_soon_and_was_not_looked_for_often(there: float) -> None:
    waited, looks = 0.0, 0
    while waited < there:
        waited += next_look(waited, 0.05, 1.0)
        looks += 1
    assert waited - there <= max(0.05, 0.05 * there)
    assert looks <= 80 + there
