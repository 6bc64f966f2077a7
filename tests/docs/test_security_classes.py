"""Each class of attack has a row in the security model, and the tests that rows name exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| .* \| (.*) \|$", re.MULTILINE)


def test_every_class_has_tests_that_exist() -> None:
    rows = ROW.findall((ROOT / "docs" / "security.md").read_text())
    assert [int(number) for number, _ in rows] == list(range(1, 18))
    for number, cell in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
        assert named, number
        for place, name in named:
            text = (ROOT / place).read_text()
            assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{place}::{name}"
