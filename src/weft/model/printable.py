"""Text from elsewhere, made fit for a terminal, a log line and a page."""

from __future__ import annotations


def printable(text: str, longest: int = 0) -> str:
    """`text` on one line, cut to `longest` characters (0: as it is). What is not printed as it is read (control
    characters, marks of direction, halves of characters) becomes an escape."""
    if longest and len(text) > longest:
        text = text[: longest - 3] + "..."
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in " ".join(text.split()))


def bounded(text: str, longest: int) -> str:
    """`text` made printable, and in no case longer than `longest`, whatever escapes are in it."""
    return printable(text, longest)[:longest]


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
