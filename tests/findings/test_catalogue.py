"""The catalogue: every code in the source stands in it, once, with all that a person needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import weft
from weft.findings.catalogue.entry import Entry
from weft.findings.catalogue.istio import NOT_HERE
from weft.findings.catalogue.lookup import CHAPTERS, ENTRIES, found, not_found, page_of
from weft.findings.catalogue.section import plain, section

SOURCE = Path(weft.__file__).parent
CODE = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")
PLACES = {
    "Problem": 1,
    "problem_at": 2,
    "source_problem": 0,
    "error": 1,
    "settle": 2,
    "finding": 0,
    "Finding": 4,
    "_warning": 2,
    "_of_workload": 2,
    "_of": 1,
    "_problem": 3,
    "_refused": 2,
    "Ending": 2,
    "RefusedRequestError": 0,
}
"""Which argument of what makes a Problem or finding is its code."""
NO_CODES = {
    "findings": {"error", "warning"},
    "admin": {"_refused", "error", "Finding"},
    "cli": {"error"},
    "agent": {"error", "_problem"},
}
"""Where these names mean something else, by package."""


def codes(path: Path) -> Iterator[str]:
    """The codes that a module makes Problems with."""
    room = path.relative_to(SOURCE).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in PLACES or name in NO_CODES.get(room, ()):
            continue
        given = [
            *node.args[PLACES[name] : PLACES[name] + 1],
            *(one.value for one in node.keywords if one.arg == "code"),
        ]
        for argument in given:
            for part in ast.walk(argument):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.match(part.value):
                    yield part.value


def constants(path: Path) -> Iterator[str]:
    """The codes that a module gives a name: ``CODE = "…"``."""
    for line in path.read_text().splitlines():
        if named := re.match(r'^(?:CODE|INTERNAL|NOT_SERVED) = "([a-z0-9-]+)"$', line):
            yield named.group(1)


def test_every_code_in_the_source_is_in_the_catalogue() -> None:
    used = {
        code: path.relative_to(SOURCE).as_posix()
        for path in sorted(SOURCE.rglob("*.py"))
        for code in (*codes(path), *constants(path))
    }
    assert len(used) > 80, "the search finds the calls"
    missing = {code: path for code, path in used.items() if code not in ENTRIES}
    assert not missing, f"add them to weft/findings/catalogue, each with a number of its own: {missing}"


def entries() -> list[Entry]:
    return [entry for _, chapter in CHAPTERS for entry in chapter]


def test_numbers_and_words_are_given_once() -> None:
    assert len({one.code for one in entries()}) == len({one.number for one in entries()}) == len(entries())
    for title, chapter in CHAPTERS:
        assert len({one.number[:6] for one in chapter}) == 1, title


@pytest.mark.parametrize("entry", entries(), ids=lambda one: one.code)
def test_an_entry_says_what_a_person_needs(entry: Entry) -> None:
    assert entry.meaning.endswith(".")
    assert entry.mend.endswith((".", ":"))
    assert entry.example
    assert set(re.findall(r"{(\w+)}", entry.fix)) <= {"kind", "name", "namespace", "workload", "proxy", "source"}
    assert entry.severity in ("error", "warning", "note")
    assert f"### {entry.code}\n" in section(entry)
    assert entry.mend in plain(entry)


def test_every_message_of_istio_is_mapped_or_has_a_reason() -> None:
    retired = {104, 105, 114, 115, 117, 120, 121, 124, 172, 175}
    mapped = {number for one in entries() for number in one.istio}
    assert not mapped & NOT_HERE.keys()
    for number in range(101, 178):
        assert number in retired or f"IST{number:04d}" in {*mapped, *NOT_HERE}, number


def test_a_code_is_found_by_word_number_and_istios_number() -> None:
    assert [one.code for one in found("Unknown-Subset")] == ["unknown-subset"]
    assert [one.code for one in found("weft0803")] == ["retry-amplification"]
    assert {one.code for one in found("ist0173")} == {"weight-to-nothing", "subset-selects-nothing"}
    assert found("IST0102") == ()
    assert "when it is made" in not_found("ist0102")
    assert not_found("unknown-subst") == "there is no code 'unknown-subst'; did you mean 'unknown-subset'?"
    assert page_of("nack") == "docs/findings.md#nack"
