"""What was written to the API server, by names that mean the same at every control plane: uid and generation."""

from __future__ import annotations

import msgspec

from weft.model.document import Document, ObjectKey

_DIGITS = 20


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object as the API server has it: `generation` 0 where its kind has none, `version` its resourceVersion; or one
    that is `gone`."""

    group: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    version: str = ""
    gone: bool = False

    @property
    def key(self) -> ObjectKey:
        """What names it."""
        return ObjectKey(self.group, self.kind, self.namespace, self.name)

    def is_in(self, document: Document[object] | None) -> bool:
        """Whether the document of this name is as it was written, or later."""
        if self.gone:
            return document is None or self.uid not in ("", _uid(document))
        return self._has_come(document) and self._is_read(document)

    def may_be_in(self, document: Document[object] | None) -> bool:
        """Whether it cannot be seen if it is: this very object was read, and its kind has no generation, or only
        metadata were written, which raises none. What says the same as before for the mesh is not read anew."""
        return not self.gone and self._has_come(document)

    def _has_come(self, document: Document[object] | None) -> bool:
        return document is not None and self.uid in ("", _uid(document)) and document.generation >= self.generation

    def _is_read(self, document: Document[object] | None) -> bool:
        if document is None or (self.generation and not self.version):
            return document is not None
        version = document.origin.source.rpartition("@")[2]
        return _number(version) >= _number(self.version) >= 0


def _number(version: str) -> int:
    """A resourceVersion as a number, of 64 bits at the most; -1: it is none."""
    return int(version) if version.isascii() and version.isdecimal() and len(version) <= _DIGITS else -1


def _uid(document: Document[object]) -> str:
    return document.origin.source.rpartition("@")[0].rpartition("/")[2]
