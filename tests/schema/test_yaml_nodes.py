"""YAML and JSON text to nodes: lines, scalars, limits, and recovery after broken documents."""

from __future__ import annotations

import json

import pytest

from weft.schema.yaml_nodes import MAX_DEPTH, MAX_NODES, field_lines, parse_documents, plain_value


def values(text: str) -> list[object]:
    return [plain_value(document.root) for document in parse_documents(text, "f") if document.root is not None]


def messages(text: str) -> list[str]:
    return [str(problem) for document in parse_documents(text, "f") for problem in document.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("0x1f", 31),
        ("010", 8),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("yes", True),
        ("off", False),
        ("''", ""),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("v1", "v1"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(written: str, value: object) -> None:
    (mapping,) = values(f"a: {written}")
    assert mapping == {"a": value}
    assert isinstance(mapping, dict)
    assert type(mapping["a"]) is type(value)


def test_every_field_has_the_line_of_its_key_or_item() -> None:
    text = "# first\na:\n  b:\n  - c: 1\n    d: 2\n  -\n    e: 3\n"
    (document,) = parse_documents(text, "f")
    assert document.root is not None
    assert field_lines(document.root, "f").lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "b", 0): 4,
        ("a", "b", 0, "c"): 4,
        ("a", "b", 0, "d"): 5,
        ("a", "b", 1): 7,
        ("a", "b", 1, "e"): 7,
    }


def test_lines_count_on_through_documents_with_windows_line_ends() -> None:
    first, second = parse_documents("a: 1\r\n---\r\n\r\nb: 2\r\n", "f")
    assert first.root is not None
    assert second.root is not None
    assert (first.root.line, second.root.line) == (1, 4)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment\n", "---\n", "---\n---\n# x\n---", "%YAML 1.1\n---\n", "null", "---\n...\n"]
)
def test_empty_documents_are_none(text: str) -> None:
    assert list(parse_documents(text, "f")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a: 1\n---\nb: 2", 2),
        ("a: 1\n...\nb: 2\n", 2),
        ("a: 1\n... # end\n# b\n---\nb: 2\n...\n", 2),
        ("a: |\n  ---\n  x\n---\nb: 1", 2),
        ("%YAML 1.1\n---\na: 1", 1),
    ],
)
def test_several_documents(text: str, count: int) -> None:
    assert len(values(text)) == count
    assert messages(text) == []


def test_a_broken_document_hides_no_other() -> None:
    text = "a: 1\n---\nb: [1\nc: 2\n---\nd: 4\n"
    assert values(text) == [{"a": 1}, {"d": 4}]
    (message,) = messages(text)
    assert message.startswith("f:4:2: error: not valid YAML:")


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ("a:\n\t- 1", "f:2:1", "tab"),
        ("a: b: c", "f:1:5", "mapping values"),
        ("a: 'x", "f:1:6", "end of stream"),
        ("ok: 1\nbad: \x07", "f:2:6", "U+0007"),
        ("a: \ud800", "f:1:4", "U+D800"),
        ("a: 1\nb: *x", "f:2:4", "names no anchor"),
        ("a: &a\n- *a", "f:2:3", "refers to itself"),
        ("a: !!python/object/apply:os.system [x]", "f:1:4", "is not allowed"),
        ("a: !secret x", "f:1:4", "is not allowed"),
        ("[a, b]: 1", "f:1:1", "plain word"),
        ("a: 1\na: 2", "f:2:1", "'a' is given twice (first in line 1)"),
        ("a:\n  <<: 5\n  b: *q", "f:3:6", "names no anchor"),
        ("a:\n  <<: [1]", "f:2:3", "merges mappings"),
    ],
)
def test_errors_have_line_and_column(text: str, start: str, words: str) -> None:
    (message,) = messages(text)
    assert message.startswith(f"{start}: error: ")
    assert words in message


@pytest.mark.parametrize("secret", ["*Pa55word", "!Pa55word"])
def test_text_taken_for_syntax_is_not_told(secret: str) -> None:
    """It may be a password."""
    (message,) = messages(f"password: {secret}")
    assert "Pa55word" not in message
    assert "quotes" in message


def test_aliases_and_merges() -> None:
    text = "base: &base {a: 1, b: 2}\nother: *base\nmerged:\n  <<: *base\n  b: 3\nmany:\n  <<: [{a: 5}, *base]\n"
    assert values(text) == [
        {"base": {"a": 1, "b": 2}, "other": {"a": 1, "b": 2}, "merged": {"b": 3, "a": 1}, "many": {"a": 5, "b": 2}}
    ]


def _laughs(item: str) -> str:
    lines = ["a: &a " + item]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)]
    return "\n".join(lines)


def _merges() -> str:
    links = (f"x{n + 1}: &x{n + 1} {{<<: [{','.join([f'*x{n}'] * 9)}]}}\n" for n in range(20))
    return "x0: &x0 {a: 1}\n" + "".join(links)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, f"deeper than {MAX_DEPTH}"),
        ('{"a":' * 100_000, f"deeper than {MAX_DEPTH}"),
        ("- " * 20_000, f"deeper than {MAX_DEPTH}"),
        ("[" + "1," * (MAX_NODES + 1) + "1]", f"more than {MAX_NODES}"),
        (_laughs("[1,1,1,1,1,1,1,1,1]"), f"more than {MAX_NODES}"),
        (_merges(), "more than"),
        ("a: " + "x" * 5_000_000, "larger than 4 MiB"),
    ],
)  # fmt: skip
def test_bombs_are_refused(text: str, words: str) -> None:
    (message,) = messages(text)
    assert words in message


def test_aliases_do_not_add_depth_unseen() -> None:
    deep = "[" * 40 + "]" * 40
    assert "deeper" in messages(f"a: &a {deep}\nb: {'[' * 40}*a{']' * 40}")[0]
    assert messages(f"a: &a {deep}\nb: {'[' * 10}*a{']' * 10}") == []


def test_exactly_the_permitted_depth_passes() -> None:
    assert messages("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert len(messages("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))) == 1


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, True, None, "x"], "b": {"c": {}}},
        {"emoji": "\U0001f600", "escaped": 'a\\ud83d\\ude00 " / \n\t\u0085\u2028\x7f'},
        {"backslashes": "\\\\ud83d"},
        {"long " * 200: 1},
    ],
)
@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_by_the_same_reader(value: object, indent: int | str | None) -> None:
    assert values(json.dumps(value, indent=indent)) == [value]
