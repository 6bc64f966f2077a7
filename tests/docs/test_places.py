"""Pages for contributors name files that are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from weft.cli.main import run

ROOT = Path(__file__).resolve().parents[2]


def test_every_place_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text()
    words = {word for word in page.split("`")[1::2] if "/" in word and " " not in word and "NAME" not in word}
    assert len(words) > 25
    for word in words:
        places = (ROOT / "src" / "weft" / word, ROOT / word)
        assert any(place.exists() for place in places), word


def test_the_glossary_says_where_each_word_is_used() -> None:
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if line.startswith("| **")]
    assert len(rows) > 12
    for row in rows:
        places = row.rpartition(" | ")[2].split("`")[1::2]
        assert places
        for place in places:
            assert (ROOT / "src" / "weft" / place).is_file(), place


def test_the_problem_of_the_first_change_is_shown_by_the_bad_examples(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "contributing.md").read_text()
    found = re.search(r"git grep '\"([\w-]+)\"' src", page)
    assert found is not None
    code = found[1]
    assert any(f'"{code}"' in path.read_text() for path in (ROOT / "src" / "weft" / "mesh").rglob("*.py"))
    assert run(["validate", str(ROOT / "tests" / "schema" / "mistakes"), "-o", "json"]) == 1
    assert code in {problem["code"] for problem in json.loads(capsys.readouterr().out)["problems"]}


def test_the_words_that_select_tests_select_some() -> None:
    text = "\n".join((ROOT / "docs" / name).read_text() for name in ("contributing.md", "walk-through.md"))
    found = re.findall(r"run test (tests/\S+) .*?-k (\w+)", text)
    assert len(found) == 2
    for place, word in found:
        tests = [path.read_text() for path in (ROOT / place).rglob("test_*.py")]
        assert any(re.search(rf"def test\w*{word}", test) for test in tests), word


def test_links_between_pages_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert len(links) > 40
    for page, link in links:
        assert (page.parent / link).exists(), f"{page.name}: {link}"
