"""Every mistake in `mistakes`, and every word without effect in `published`, is told where its comment says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.model.origin import path_text
from weft.schema.decode import decode_documents

BAD = sorted((Path(__file__).parent / "mistakes").glob("*.yaml"))
PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.yaml"))
_COMMENT = re.compile(r"#\s*((?:error|warning|note): .*)$")


def announced(text: str) -> list[tuple[int, str, str, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _COMMENT.search(line)
        for each in match.group(1).split("; ") if match else ():
            severity, _, rest = each.partition(": ")
            code, _, path = rest.partition(" ")
            found.append((number, severity, code, path))
    return sorted(found)


def test_there_are_examples() -> None:
    assert len(BAD) >= 6


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_what_is_published_is_taken_and_every_word_without_effect_is_told(path: Path) -> None:
    assert len(PUBLISHED) >= 4
    decoded = decode_documents(path.read_text(), path.name)
    found = [(each.origin.line, str(each.severity), each.code, path_text(each.path)) for each in decoded.problems]
    assert sorted(found) == announced(path.read_text())
    assert not decoded.failed
    assert decoded.documents


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_all_mistakes_are_found_in_their_lines(path: Path) -> None:
    text = path.read_text()
    problems = decode_documents(text, path.name).problems
    found = [(each.origin.line, str(each.severity), each.code, path_text(each.path)) for each in problems]
    assert sorted(found) == announced(text)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_error_says_what_to_do(path: Path) -> None:
    for problem in decode_documents(path.read_text(), path.name).problems:
        assert problem.message
        assert str(problem).startswith(f"{path.name}:{problem.origin.line}")
        told = problem.expected or " " in problem.message
        assert told, problem
