"""The documents of weft.yaml's `apply`: found, and applied through the admin API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.local.client import AdminClient, RefusedError, Source, UnreachableError

Describe = Callable[[Mapping[str, Any]], str]
"""A problem of the admin API as text."""


class DocumentsError(Exception):
    """Documents are missing or were refused; the text says which and why."""


def apply_documents(admin: AdminClient, base: Path, paths: Sequence[str], describe: Describe) -> int:
    """Apply the files that `paths` (relative to `base`) name; how many. Blocks. Raises DocumentsError."""
    try:
        files = _files(base, paths)
    except OSError as error:
        raise DocumentsError(str(error)) from error
    for file in files:
        try:
            admin.apply(Source(str(file), file.read_text("utf-8")))
        except RefusedError as error:
            told = "\n".join((f"{file} was refused: {error}", *(describe(problem) for problem in error.problems)))
            raise DocumentsError(told) from error
        except (UnreachableError, OSError, UnicodeDecodeError) as error:
            raise DocumentsError(str(error)) from error
    return len(files)


def _files(base: Path, paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = base / text
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))
        elif path.is_file():
            found.append(path)
        else:
            raise DocumentsError(f"{path}: no such file or directory")
    return found
