"""docs/published-pages.md names the tests that follow each page: every one of them is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/published-pages.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE))
    assert len(named) > 30
    for path, name in sorted(named):
        text = (ROOT / path).read_text()
        assert not name or f"def {name}(" in text, (path, name)


def test_every_test_of_pages_is_named() -> None:
    for path in (ROOT / "tests/e2e").glob("test_pages_of_*.py"):
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE):
            assert f"{path.name}::{name}`" in PAGE, name


def test_the_figures_add_up() -> None:
    decoded, read = map(int, re.findall(r"^(\d+) of (\d+) documents", PAGE, re.MULTILINE)[0])
    parts = [int(number) for number in re.findall(r"\((\d+)(?: documents[^)]*)?\)", PAGE.partition("What does not")[0])]
    refused = [int(number) for number in re.findall(r"^\| [^|]+ \| (\d+) \|", PAGE, re.MULTILINE)]
    assert sum(parts) == read
    assert decoded + sum(refused) == read
