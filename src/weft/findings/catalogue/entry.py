"""One entry of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What is told about a code. `number` never changes and is never given away again; `code` is the word that Problems
    and findings carry. `example` is a line of what is told, or a document that causes it; `mend` says what to do.

    `fix` is a command that does it, with ``{kind}``, ``{name}``, ``{namespace}``, ``{workload}``, ``{proxy}`` in it;
    empty: the document is edited. `istio` are the messages of ``istioctl analyze`` that say the same.
    """

    number: str
    code: str
    severity: str
    meaning: str
    example: str
    mend: str
    fix: str = ""
    istio: tuple[str, ...] = ()


def error(number: int, code: str, meaning: str, example: str, mend: str, fix: str = "", istio: str = "") -> Entry:
    """An entry of an error; `istio` are numbers separated by spaces."""
    return _entry("error", number, code, meaning, example, mend, fix, istio)


def warning(number: int, code: str, meaning: str, example: str, mend: str, fix: str = "", istio: str = "") -> Entry:
    """An entry of a warning."""
    return _entry("warning", number, code, meaning, example, mend, fix, istio)


def note(number: int, code: str, meaning: str, example: str, mend: str, fix: str = "", istio: str = "") -> Entry:
    """An entry of a note."""
    return _entry("note", number, code, meaning, example, mend, fix, istio)


def _entry(severity: str, number: int, code: str, meaning: str, example: str, mend: str, fix: str, istio: str) -> Entry:
    numbers = tuple(f"IST{one}" for one in istio.split())
    return Entry(f"WEFT{number:04d}", code, severity, meaning, example, mend, fix, numbers)
