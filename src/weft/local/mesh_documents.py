"""Files with documents: which of a directory's they are, and those of weft.yaml's `apply` applied."""

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


def is_mesh_file(name: str) -> bool:
    """Whether a file of this name says what a mesh consists of."""
    return name in ("weft.yaml", "weft.yml")


def files_below(directory: Path) -> list[Path]:
    """The files below `directory` that hold documents or a mesh, in order; hidden ones do not count."""
    return sorted(
        file
        for file in directory.rglob("*")
        if file.suffix in (".yaml", ".yml", ".json")
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(directory).parts)
    )


def _files(base: Path, paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = base / text
        if path.is_dir():
            found += [file for file in files_below(path) if not is_mesh_file(file.name)]
        elif path.is_file():
            found.append(path)
        else:
            raise DocumentsError(f"{path}: no such file or directory")
    return found
