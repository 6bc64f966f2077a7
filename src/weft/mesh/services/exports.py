"""Exports: the namespaces whose callers are told of something, as ``exportTo`` says it.

https://istio.io/latest/docs/reference/config/annotations/#NetworkingExportTo
"""

from __future__ import annotations

from weft.model.document import Document
from weft.schema.annotations import EXPORT_TO

Exports = tuple[str, ...]
"""Namespaces, sorted; empty for all of them, and NOBODY for none."""
ALL_NAMESPACES: Exports = ()
NOBODY: Exports = ("~",)


def exports_of(words: tuple[str, ...], namespace: str, default: tuple[str, ...] = ()) -> Exports:
    """What the words of a document of `namespace` mean, or where it has none those of the mesh."""
    chosen = words or default or ("*",)
    if "*" in chosen:
        return ALL_NAMESPACES
    named = {namespace if word == "." else word for word in chosen if word != "~"}
    return tuple(sorted(named)) or NOBODY


def annotated_exports(document: Document[object]) -> tuple[str, ...]:
    """The words of a Service's annotation."""
    for name, text in document.annotations:
        if name == EXPORT_TO:
            return tuple(word.strip() for word in text.split(",") if word.strip())
    return ()


def is_exported(exports: Exports, namespace: str) -> bool:
    """Whether callers of a namespace are told."""
    return not exports or namespace in exports
