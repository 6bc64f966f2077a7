"""Examples in help texts: as they are typed, and no wider than the help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

_WORD = re.compile(r"(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+")
_MORE = " " * 5
_SHORT = 60
_END = " \\"


def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
    """A section of them."""
    lines = [line for example in joined(examples) for line in _folded(example, formatter.width)]
    if lines:
        formatter.write("\nExamples:\n")
        formatter.write("".join(f"{line}\n" for line in lines))


def joined(examples: Iterable[str]) -> Iterator[str]:
    """Each example in one line: one that ends with a backslash goes on with the next."""
    begun = ""
    for example in examples:
        text = f"{begun}{example.strip()}"
        begun = f"{text[:-1].rstrip()} " if text.endswith("\\") else ""
        if not begun:
            yield text
    if begun:
        yield begun.rstrip()


def _folded(example: str, width: int) -> Iterator[str]:
    """Lines of at most `width`, but for words that are longer. An option stays with its value, and a short
    command with its arguments."""
    parts = list(_parts(example))
    line = " "
    for place, part in enumerate(parts, 1):
        room = width if place == len(parts) else width - len(_END)
        if line.strip() and len(line) + 1 + len(part) > room:
            yield f"{line}{_END}"
            line = _MORE
        line = f"{line} {part}"
    yield line


def _parts(example: str) -> Iterator[str]:
    words = _WORD.findall(example)
    at = 0
    while at < len(words):
        rest = " ".join(words[at:])
        if words[at] == "--" and len(rest) <= _SHORT:
            yield rest
            return
        end = at + 1 + (words[at] == "--")
        paired = end < len(words) and words[end - 1].startswith("-") and not words[end].startswith("-")
        yield " ".join(words[at : end + paired])
        at = end + paired
